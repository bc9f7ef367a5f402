"""Build the gallery from Dataset/: the same as `idseg people build`, for those who look for a script.

python scripts/create_member_embeddings.py [DATASET] [--gallery DIR] [--face-engine NAME]
"""

import sys

from identity_segmentation.cli.command import main

if __name__ == "__main__":
    sys.exit(main(["people", "build", *sys.argv[1:]]))
