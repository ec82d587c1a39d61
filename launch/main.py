"""Trains or evaluates a system; the same command again goes on where a run stopped.

python launch/main.py --config=configs/tbgan.py[:PRESET] [--workdir=DIR] [--config.KEY=VALUE ...]
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands.common import run_script  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_script("train", doc=__doc__))
