"""`facejax edit` from a checkout: python launch/edit.py --help"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands import edit  # noqa: E402

if __name__ == "__main__":
    sys.exit(edit.main(sys.argv[1:], f"python {sys.argv[0]}"))
