"""`python -m facejax VERB`: the same as `facejax VERB`."""

import sys

from facejax.cli import main

if __name__ == "__main__":
    sys.exit(main())
