"""Parameter groups of another run as the start of a new one."""

import logging
import os
import pathlib
from typing import Any

import jax
import numpy as np

from facejax.host.paths import split_name
from facejax.io.checkpoints import Checkpoints, fit_tree
from facejax.train.run_folder import read_config
from facejax.train.state import TrainState

_log = logging.getLogger(__name__)
WITH = ("ema", "optimizer")


def parse_init_from(text: str) -> tuple[pathlib.Path, tuple[str, ...]]:
    """'RUN[:GROUP,GROUP]' as (folder, groups); no groups mean all that both runs have.

    A colon may be part of the folder's path, see `split_name`.
    """
    folder, names = split_name(text, os.path.isdir)
    return pathlib.Path(folder), tuple(n.strip() for n in names.split(",") if n.strip())


def warm_start(state: TrainState, init_from: str, init_with: str = "") -> TrainState:
    """A fresh state whose named groups have the numbers of another run's newest checkpoint.

    Entries of aux called GROUP_... (running statistics) come with their group. Moving averages
    start from the parameters taken, unless 'ema' is asked for.

    Args:
      state: of numpy arrays, from `init_state`.
      init_from: 'RUN[:GROUP,GROUP]'; without groups all that both runs have.
      init_with: 'ema', 'optimizer' or both, comma-separated: what else to take of these groups.

    Raises:
      ValueError: no run or checkpoint there, an unknown group, or one of another shape
        (CheckpointError).
    """
    extras = tuple(x.strip() for x in init_with.split(",") if x.strip())
    if set(extras) - set(WITH):
        raise ValueError(f"init_with is {init_with!r}, wanted some of {', '.join(WITH)}")
    folder, groups = parse_init_from(init_from)
    if read_config(folder) is None:
        raise ValueError(f"init_from: {folder} holds no run (no config.json)")
    found = Checkpoints(folder / "checkpoints").restore_latest(
        only=("params", "aux", *(("ema",) if "ema" in extras else ()),
              *(("opt",) if "optimizer" in extras else ()))
    )  # fmt: skip
    if found is None:
        raise ValueError(f"init_from: {folder} has no checkpoint yet: train it first")
    tree, meta = found
    both = [g for g in state.params if g in tree["params"]]
    groups = groups or tuple(both)
    missing = [g for g in groups if g not in both]
    if missing or not groups:
        raise ValueError(
            f"init_from={init_from}: no group {', '.join(missing) or 'in common'}; this run has "
            f"{', '.join(state.params)}, the other {', '.join(tree['params'])}"
        )
    where = f"init_from={init_from}"
    params = {
        g: _fitting(state.params[g], tree["params"][g], f"{where}: group {g}") for g in groups
    }
    aux = {
        name: _fitting(state.aux[name], tree["aux"][name], f"{where}: {name}")
        for name in state.aux
        if name in tree.get("aux", {}) and any(name.startswith(f"{g}_") for g in groups)
    }
    ema = {g: jax.tree.map(np.copy, params[g]) for g in groups if g in state.ema}
    if "ema" in extras:
        ema |= {
            g: _fitting(state.ema[g], tree["ema"][g], f"{where}: moving average of {g}")
            for g in ema
            if g in tree.get("ema", {})
        }
    opt = {}
    if "optimizer" in extras:
        opt = {
            g: _fitting(state.opt[g], tree["opt"].get(g, {}), f"{where}: optimiser of {g}")
            for g in groups
        }
    _log.info(
        "%s start from %s, step %d%s", ", ".join([*groups, *aux]), folder, meta["step"],
        f", with {', '.join(extras)}" if extras else "",
    )  # fmt: skip
    return state.replace(
        params=state.params | params, aux=state.aux | aux, ema=state.ema | ema, opt=state.opt | opt
    )


def _fitting(wanted: Any, found: Any, where: str) -> Any:
    """`found`, arrays by name, with the structure of `wanted`, whose shapes it must have."""
    return fit_tree(wanted, found, where)
