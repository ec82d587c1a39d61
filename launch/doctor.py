"""Versions, devices, caches, packages, face models, licences, and a self-test of the numbers.

python launch/doctor.py [--json] [--ict=PATH] [--no-self_test]
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facejax import doctor  # noqa: E402

if __name__ == "__main__":
    sys.exit(doctor.main(sys.argv[1:], __doc__))
