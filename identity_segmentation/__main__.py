"""`python -m identity_segmentation` is `idseg`."""

import sys

from .cli.command import main

sys.exit(main())
