"""``python -m selftrain`` is ``selftrain``."""

import sys

from selftrain.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
