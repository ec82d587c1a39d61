"""Runs --dry_run of command lines in one process: python -m tests.cli.dry_runs LINE ...

Prints a JSON line for each: what was printed, the stages of the run, and whether a jax backend was
initialised. Presets of one network differ in batch sizes: each network is traced once.
"""

import contextlib
import gc
import io
import json
import shlex
import sys

from jax._src import xla_bridge

from facejax.commands import train
from facejax.train import describe, memory
from facejax.train.progress import stage_starts
from facejax.train.run_folder import as_plain

_traced: dict[str, int] = {}


def step_bytes(system, plan, state, *more):
    """`memory.step_bytes`, of networks and losses seen before that of their first batch size."""
    config = as_plain(system.config)
    parts = {
        k: v for k, v in config.items() if k in ("system", "model", "loss", "graph", "texture")
    }
    parts["model"] = parts["model"] | {"mbstd_group": None}  # a reshape of the batch
    key = json.dumps([parts, plan.stage.name, plan.stage.static], sort_keys=True)
    if key not in _traced:
        _traced[key] = memory.step_bytes(system, plan, state, *more)
    return _traced[key]


def main(lines):
    """Runs the lines and prints the results."""
    gc.disable()  # a third of the time otherwise
    describe.step_bytes = step_bytes
    text_of, systems = describe.describe, []

    def remembering(config, system, workdir):
        systems.append(system)
        return text_of(config, system, workdir)

    describe.describe = remembering
    for line in lines:
        argv, out = [*shlex.split(line), "--dry_run"], io.StringIO()
        with contextlib.redirect_stdout(out):
            code = train.main(argv)
        found = {"code": code, "text": out.getvalue(), "stages": []}
        if code == 0:
            stages = stage_starts(systems.pop())
            found["stages"] = list(dict.fromkeys(stage.name for stage in stages))
        found["initialised"] = xla_bridge.backends_are_initialized()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
