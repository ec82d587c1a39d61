"""Runs that another run needs, trained on demand: `config.KEY=auto`.

A prerequisite is a run of its own in <run>/prerequisites/<name>, so that a run folder can be moved
as a whole. A finished one is also kept in the user's cache, by its resolved configuration: the next
run that needs the same takes it from there.
"""

import functools
import hashlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from facejax.host.machine import cache_folder
from facejax.io.checkpoints import Checkpoints
from facejax.train.config import load_config
from facejax.train.loop import train
from facejax.train.parallel import Parallel, agree
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
    """The finished runs in the cache, by name."""
    return sorted(p.parent for p in _runs_folder().glob("[!.]*/config.json"))


def _runs_folder() -> pathlib.Path:
    return cache_folder("runs")


def cached_run(config: ConfigDict) -> pathlib.Path:
    """Where the cache keeps the finished run of a configuration; it need not exist."""
    text = json.dumps([__version__, settings(config)], sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    return _runs_folder() / f"{config.system}-{digest}"


def is_finished(folder: pathlib.Path, config: ConfigDict) -> bool:
    """Whether a folder holds the finished run of a configuration."""
    kept = read_config(folder)
    if kept is None or settings(kept) != settings(config):
        return False
    found = Checkpoints(folder / "checkpoints").restore_latest(only=())
    return found is not None and found[1]["images"] >= make_system(config).total_images


def train_prerequisites(
    config: Any,
    workdir: str | pathlib.Path,
    *,
    parallel: Parallel | None = None,
    show_progress: bool = True,
) -> None:
    """Trains what a configuration needs and does not have yet, before the run itself.

    Interrupted, it goes on where it stopped; what it makes depends on its configuration alone.

    Args:
      config: ConfigDict of the run.
      workdir: of the run.
      parallel, show_progress: see `facejax.train.loop.train`.
    """
    for prerequisite in prerequisites(config):
        own = prerequisite_config(prerequisite)
        folder = prerequisite_folder(workdir, prerequisite)
        if is_finished(folder, own):
            continue
        kept = cached_run(own)
        if not folder.exists() and is_finished(kept, own):
            _on_one_process(functools.partial(_copy, kept, folder))
            _log.info("%s: %s is taken from %s", prerequisite.key, prerequisite.name, kept)
            continue
        _log.info(
            "%s=auto: first %s (%s) is trained, in %s",
            prerequisite.key, prerequisite.name, prerequisite.spec, folder,
        )  # fmt: skip
        train_prerequisites(own, folder, parallel=parallel, show_progress=show_progress)
        train(
            make_system(resolve(own, folder)), own, folder, parallel=parallel,
            show_progress=show_progress,
        )  # fmt: skip
        try:
            _on_one_process(functools.partial(_copy, folder, kept))
        except OSError as error:
            _log.warning("cannot keep %s in the cache: %s", prerequisite.name, error)


def describe_prerequisites(config: Any, workdir: str | pathlib.Path) -> list[str]:
    """Lines of --dry_run: what would be trained first, or is there already."""
    lines = []
    for prerequisite in prerequisites(config):
        own = prerequisite_config(prerequisite)
        folder, kept = prerequisite_folder(workdir, prerequisite), cached_run(own)
        if is_finished(folder, own):
            state = f"finished, in {folder}"
        elif not folder.exists() and is_finished(kept, own):
            state = f"finished, taken from {kept}"
        else:
            kimg = make_system(own).total_images / 1000
            state = f"trained first: {kimg:g} kimg, in {folder}"
        lines.append(f"{prerequisite.key}=auto: {prerequisite.name} ({prerequisite.spec}): {state}")
    return lines


def _on_one_process(work: Callable[[], None]) -> None:
    """The others wait, so that all find the same files."""
    if jax.process_index() == 0:
        work()
    agree(0)


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """The configuration, the newest checkpoint and the prerequisites of a run, whole or not."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    step = str(Checkpoints(source / "checkpoints").steps()[-1])
    partial = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        shutil.copy2(source / "config.json", partial)
        shutil.copytree(source / "checkpoints" / step, partial / "checkpoints" / step)
        if (source / "prerequisites").is_dir():
            shutil.copytree(source / "prerequisites", partial / "prerequisites")
        os.chmod(partial, 0o755)
        try:
            os.replace(partial, target)
        except OSError:
            if not target.exists():  # else another run was faster, with the same numbers
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
