"""`facejax analyze` from a checkout: python launch/analyze.py --help"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands import analyze  # noqa: E402

if __name__ == "__main__":
    sys.exit(analyze.main(sys.argv[1:], f"python {sys.argv[0]}"))
