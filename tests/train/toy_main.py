"""A process that trains the toy system: `python toy_main.py WORKDIR '{"lr": 0.1}'`."""

import json
import logging
import os
import sys

from facejax.train.control import Interrupted
from facejax.train.loop import train
from facejax.train.parallel import Parallel, initialize
from tests.train.toy import ToySystem, toy_config


def main():
    logging.getLogger("facejax").addHandler(logging.StreamHandler())
    logging.getLogger("facejax").setLevel(logging.INFO)
    workdir, overrides = sys.argv[1], json.loads(sys.argv[2])
    if len(sys.argv) > 3:
        initialize(sys.argv[3], 2, int(sys.argv[4]))
    config = toy_config(**overrides)
    print(os.getpid(), flush=True)
    try:
        train(ToySystem(config), config, workdir, parallel=Parallel(config.parallel))
    except Interrupted as error:
        print(error, flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
