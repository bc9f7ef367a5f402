"""The web page on this machine: `python app.py`, the same as `idseg ui`; options are handed on."""

from __future__ import annotations

import sys

from identity_segmentation.cli.command import main

if __name__ == "__main__":
    sys.exit(main(["ui", *sys.argv[1:]]))
