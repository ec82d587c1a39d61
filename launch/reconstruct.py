"""`facejax reconstruct` from a checkout: python launch/reconstruct.py --help"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands import reconstruct  # noqa: E402

if __name__ == "__main__":
    sys.exit(reconstruct.main(sys.argv[1:], f"python {sys.argv[0]}"))
