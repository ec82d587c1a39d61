"""Trains or evaluates a system; the same command again goes on where a run stopped.

python launch/main.py --config=configs/tbgan.py[:PRESET] [--workdir=DIR] [--config.KEY=VALUE ...]
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # config files import configs.common

from facejax import cli  # noqa: E402

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv, __doc__))
