"""Runs that another run needs, trained on demand: `config.KEY=auto`.

A prerequisite is a run of its own in <run>/prerequisites/<name>, so that a run folder can be moved
as a whole. A finished one is also kept in the user's cache, by its resolved configuration: the next
run that needs the same takes it from there.
"""

import functools
import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from facejax.host.cache import is_usable
from facejax.host.locks import LockError, folder_lock, new_folder
from facejax.host.machine import MachineError, cache_folder
from facejax.io.checkpoints import CheckpointError, Checkpoints
from facejax.train.config import load_config
from facejax.train.loop import train
from facejax.train.parallel import Parallel, agree, run_lock
from facejax.train.run_folder import read_config, settings
from facejax.train.runs import make_system, prerequisite_folder, prerequisites, resolve
from facejax.train.system import Prerequisite
from facejax.version import __version__

_log = logging.getLogger(__name__)


def prerequisite_config(prerequisite: Prerequisite) -> ConfigDict:
    """The resolved configuration that is trained."""
    config = load_config(prerequisite.spec)
    config.update_from_flattened_dict(dict(prerequisite.overrides))
    return config


def cached_runs() -> list[pathlib.Path]:
    """The finished runs in the cache, by name; none where this user has no cache."""
    folder = _runs_folder()
    return sorted(p.parent for p in folder.glob("[!.]*/config.json")) if folder else []


def _runs_folder() -> pathlib.Path | None:
    try:
        return cache_folder("runs")
    except MachineError:  # a user without a home
        return None


def cached_run(config: ConfigDict) -> pathlib.Path | None:
    """Where the cache keeps the finished run of a configuration; it need not exist.

    None where this user has no cache.
    """
    folder = _runs_folder()
    if folder is None:
        return None
    text = json.dumps([__version__, settings(config)], sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    return folder / f"{config.system}-{digest}"


def is_finished(folder: pathlib.Path, config: ConfigDict) -> bool:
    """Whether a folder holds the finished run of a configuration."""
    kept = read_config(folder)
    if kept is None or settings(kept) != settings(config):
        return False
    found = Checkpoints(folder / "checkpoints").restore_latest()
    return found is not None and found[1]["images"] >= make_system(config).total_images


def _is_kept(folder: pathlib.Path | None, config: ConfigDict) -> bool:
    """`is_finished` of a folder of the cache, where damage only costs time."""
    try:
        return folder is not None and is_finished(folder, config)
    except (CheckpointError, OSError, ValueError) as error:
        _log.warning("a finished run in the cache is passed over: %s", error)
        return False


def train_prerequisites(
    config: Any,
    workdir: str | pathlib.Path,
    *,
    parallel: Parallel | None = None,
    show_progress: bool = True,
) -> None:
    """Trains what a configuration needs and does not have yet, before the run itself.

    Interrupted, it goes on where it stopped; what it makes depends on its configuration alone, so
    two runs that need the same at the same time each train their own, and either may be kept.

    Args:
      config: ConfigDict of the run.
      workdir: of the run.
      parallel, show_progress: see `facejax.train.loop.train`.
    """
    wanted = prerequisites(config)
    if not wanted:
        return
    with run_lock(workdir):
        for prerequisite in wanted:
            _train_one(prerequisite, workdir, parallel, show_progress)


def _train_one(prerequisite, workdir, parallel, show_progress) -> None:
    own = prerequisite_config(prerequisite)
    folder = prerequisite_folder(workdir, prerequisite)
    if is_finished(folder, own):
        return
    kept = cached_run(own)
    if not folder.exists() and _is_kept(kept, own):
        _on_one_process(functools.partial(_copy, kept, folder))
        _log.info("%s: %s is taken from %s", prerequisite.key, prerequisite.name, kept)
        return
    _log.info(
        "%s=auto: first %s (%s) is trained, in %s",
        prerequisite.key, prerequisite.name, prerequisite.spec, folder,
    )  # fmt: skip
    train_prerequisites(own, folder, parallel=parallel, show_progress=show_progress)
    train(
        make_system(resolve(own, folder)), own, folder, parallel=parallel,
        show_progress=show_progress,
    )  # fmt: skip
    _on_one_process(functools.partial(_keep, folder, kept, own, prerequisite.name))


def describe_prerequisites(config: Any, workdir: str | pathlib.Path) -> list[str]:
    """Lines of --dry_run: what would be trained first, or is there already."""
    lines = []
    for prerequisite in prerequisites(config):
        own = prerequisite_config(prerequisite)
        folder, kept = prerequisite_folder(workdir, prerequisite), cached_run(own)
        if is_finished(folder, own):
            state = f"finished, in {folder}"
        elif not folder.exists() and _is_kept(kept, own):
            state = f"finished, taken from {kept}"
        else:
            kimg = make_system(own).total_images / 1000
            state = f"trained first: {kimg:g} kimg, in {folder}"
        lines.append(f"{prerequisite.key}=auto: {prerequisite.name} ({prerequisite.spec}): {state}")
    return lines


def _on_one_process(work: Callable[[], None]) -> None:
    """The others wait, so that all find the same files; what goes wrong goes wrong in all."""
    problem = None
    if jax.process_index() == 0:
        try:
            work()
        except (ValueError, OSError) as error:
            problem = error
    if agree(int(problem is not None)) and problem is None:
        problem = CheckpointError("process 0 could not copy a finished run")
    if problem is not None:
        raise problem


def _keep(folder: pathlib.Path, kept: pathlib.Path | None, config: ConfigDict, name: str) -> None:
    """Puts a finished run into the cache, which may be one that cannot be written."""
    if kept is None or not is_usable():
        return
    try:
        if kept.exists():
            if _is_kept(kept, config):
                return  # another run was faster, with the same numbers
            with folder_lock(kept, "removing a damaged run"):
                shutil.rmtree(kept)
        _copy(folder, kept)
    except LockError:
        pass  # another run is putting it there
    except (OSError, ValueError) as error:
        _log.warning("cannot keep %s in the cache: %s", name, error)


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """The configuration, the newest checkpoint and the prerequisites of a run, whole or not."""
    step = str(Checkpoints(source / "checkpoints").steps()[-1])
    with new_folder(target, "copying a finished run") as partial:
        shutil.copy2(source / "config.json", partial)
        shutil.copytree(source / "checkpoints" / step, partial / "checkpoints" / step)
        if (source / "prerequisites").is_dir():
            shutil.copytree(
                source / "prerequisites",
                partial / "prerequisites",
                ignore=shutil.ignore_patterns(".*"),
            )
