"""`facejax import_weights` from a checkout: python launch/import_weights.py --help"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands import import_weights  # noqa: E402

if __name__ == "__main__":
    sys.exit(import_weights.main(sys.argv[1:], f"python {sys.argv[0]}"))
