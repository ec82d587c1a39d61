"""`facejax compare_shapes` from a checkout: python launch/compare_shapes.py --help"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands import compare_shapes  # noqa: E402

if __name__ == "__main__":
    sys.exit(compare_shapes.main(sys.argv[1:], f"python {sys.argv[0]}"))
