"""`facejax doctor` from a checkout: python launch/doctor.py --help"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands.common import run_script  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_script("doctor"))
