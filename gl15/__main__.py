"""`python -m gl15`: see `python -m gl15 --help`."""

import sys

from gl15.simulation._commands import main


if __name__ == "__main__":
    sys.exit(main())
