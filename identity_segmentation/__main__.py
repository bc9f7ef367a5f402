"""`python -m identity_segmentation` is `idseg`."""

import sys

from .cli import main

sys.exit(main())
