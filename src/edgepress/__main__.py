"""``python -m edgepress``."""

import sys

from edgepress.cli import main

if __name__ == "__main__":
    sys.exit(main())
