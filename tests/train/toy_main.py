"""A process that trains a toy system: `python toy_main.py WORKDIR '{"lr": 0.1}'`."""

import json
import logging
import os
import sys

from facejax.commands import common
from facejax.train.control import Interrupted
from facejax.train.loop import train
from facejax.train.parallel import Parallel, initialize
from facejax.train.prerequisites import train_prerequisites
from facejax.train.runs import make_system, resolve
from tests.train.toy import install, student_config, toy_config


def work():
    logging.getLogger("facejax").addHandler(logging.StreamHandler())
    logging.getLogger("facejax").setLevel(logging.INFO)
    workdir, overrides = sys.argv[1], json.loads(sys.argv[2])
    if len(sys.argv) > 3:
        initialize(sys.argv[3], 2, int(sys.argv[4]))
    install(setattr)
    make = student_config if overrides.pop("system", "toy") == "student" else toy_config
    config = make(**overrides)
    print(os.getpid(), flush=True)
    parallel = Parallel(config.parallel)
    try:
        train_prerequisites(config, workdir, parallel=parallel)
        train(make_system(resolve(config, workdir)), config, workdir, parallel=parallel)
    except Interrupted as error:
        print(error, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(common.whole_process(lambda: common.report_errors(work)))
