"""What works on this machine, and the command that fixes what does not; the same as `idseg doctor`. Downloads nothing.

Exit status 0 if the embedded engines can run, 1 if they cannot.
"""

from __future__ import annotations

import sys

from identity_segmentation.cli.command import main

if __name__ == "__main__":
    sys.exit(main(["doctor"]))
