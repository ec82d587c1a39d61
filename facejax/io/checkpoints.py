"""Checkpoints that are whole or absent, and that notice damage.

Orbax writes each step into a folder that appears under its name only when it is complete. It does
not notice a flipped byte, so a digest of every array is kept beside the data; a step that fails is
passed over in favour of the one before it.
"""

import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

_log = logging.getLogger(__name__)
_META = "meta"


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or none can be read; the text says what to do."""

    exit_code = 1


def _entry_name(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _flatten(tree: Any) -> dict[tuple[str, ...], Any]:
    """{path: leaf} of any pytree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {tuple(_entry_name(key) for key in path): leaf for path, leaf in leaves}


def _nest(flat: dict[tuple[str, ...], np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = leaf
    return tree


def _digest(leaf: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{leaf.dtype}{leaf.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _meta_digest(meta: dict[str, Any]) -> str:
    text = json.dumps({k: v for k, v in meta.items() if k != "meta_digest"}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fit_tree(like: Any, tree: Any, where: str) -> Any:
    """Arrays by name as a tree of another structure.

    Args:
      like: pytree of arrays or `jax.ShapeDtypeStruct`.
      tree: nested dicts of arrays under the same names.
      where: what `tree` is, for the message.

    Raises:
      CheckpointError: names, shapes or dtypes differ.
    """
    return _unflatten_like(like, _flatten(tree), where)


def _unflatten_like(like: Any, flat: dict[tuple[str, ...], np.ndarray], where: str) -> Any:
    wanted = _flatten(like)
    problems = [f"{'/'.join(path)} is missing" for path in wanted if path not in flat]
    problems += [f"{'/'.join(path)} is not expected" for path in flat if path not in wanted]
    problems += [
        f"{'/'.join(path)} is {flat[path].dtype} {flat[path].shape}, "
        f"wanted {np.dtype(leaf.dtype)} {tuple(leaf.shape)}"
        for path, leaf in wanted.items()
        if path in flat
        and (flat[path].shape != tuple(leaf.shape) or flat[path].dtype != leaf.dtype)
    ]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{where} is of another model: {'; '.join(problems[:5])}{more}. Use the configuration "
            "that wrote it, or another folder"
        )
    structure = jax.tree.structure(like)
    return jax.tree.unflatten(structure, [flat[path] for path in wanted])


class Checkpoints:
    """The checkpoints of one run. Every process calls every method.

    A context manager; leaving it waits for the last write. Nothing is created before the first
    `save`.

    Attributes:
      folder: where the steps lie, absolute.
      keep: how many of the newest are kept.
    """

    def __init__(self, folder: str | pathlib.Path, keep: int = 3):
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint, found {keep}")
        self.folder = pathlib.Path(folder).absolute()
        self.keep = keep
        self._manager = None

    def steps(self) -> list[int]:
        """The steps that are written completely, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def save(self, step: int, tree: Any, meta: dict[str, Any]) -> None:
        """Writes a step in the background; the arrays may be donated as soon as this returns.

        Steps from `step` on that exist already are leftovers that `restore_latest` passed over:
        they are renamed to '<step>.damaged'.

        Args:
          step: the number of the step, >= 0.
          tree: pytree of arrays, replicated over devices. Its top-level entries can be restored
            separately.
          meta: JSON-able facts about the step.

        Raises:
          CheckpointError: this write, or the one before it, failed. Earlier steps are intact.
        """
        from orbax import checkpoint as ocp

        # A copy: on CPU a numpy view shares the memory that the next step overwrites.
        flat = {path: np.array(leaf) for path, leaf in _flatten(tree).items()}
        meta = meta | {
            "step": int(step),
            "digest": {"/".join(path): _digest(leaf) for path, leaf in flat.items()},
        }
        meta = json.loads(json.dumps(meta))
        items = {name: ocp.args.StandardSave(sub) for name, sub in _nest(flat).items()}
        items[_META] = ocp.args.JsonSave(meta | {"meta_digest": _meta_digest(meta)})
        try:
            if self._manager is None:
                self._manager = self._open()
            self._manager.wait_until_finished()
            self._set_aside([found for found in self.steps() if found >= step])
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        except Exception as error:  # OSError, ValueError, RuntimeError: depends on the layer
            raise self._write_error(error) from error

    def wait(self) -> None:
        """Returns when the last step is on disk, or raises CheckpointError if it is not."""
        if self._manager is None:
            return
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._write_error(error) from error

    def close(self) -> None:
        """Waits for the last write and frees the threads."""
        if self._manager is None:
            return
        try:
            self.wait()
        finally:
            manager, self._manager = self._manager, None
            manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *unused) -> None:
        self.close()

    def restore(
        self, step: int, like: Any = None, only: Iterable[str] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """One step, checked.

        Args:
          step: one of `steps()`.
          like: a pytree of arrays or `jax.ShapeDtypeStruct` with the wanted structure; None for
            nested dicts by name.
          only: top-level entries to read, for instance ('params', 'ema'); None for all.

        Returns:
          (tree of numpy arrays, meta). With `only` the tree is a dict of these entries.

        Raises:
          CheckpointError: the step is absent, damaged, or does not fit `like`.
        """
        where = f"checkpoint {self.folder / str(step)}"
        try:
            flat, meta = self._read(step, only)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise CheckpointError(f"{where} is damaged or absent: {reason}") from error
        if like is None:
            names = {path.split("/")[0] for path in meta["digest"]} if only is None else set(only)
            return {name: {} for name in names} | _nest(flat), meta
        return _unflatten_like(like, flat, where), meta

    def restore_latest(
        self,
        like: Any = None,
        only: Iterable[str] | None = None,
        forget: Iterable[tuple[str, str]] = (),
    ) -> tuple[Any, dict[str, Any]] | None:
        """The newest step that is whole; damaged ones are named in a warning and passed over.

        Args:
          like, only: see `restore`.
          forget: (entry, name) of what older versions kept and nobody reads any more.

        Returns:
          (tree, meta), or None where there is no checkpoint at all.

        Raises:
          CheckpointError: there are checkpoints but all are damaged, or the newest good one does
            not fit `like`.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                tree, meta = self.restore(step, only=only)
            except CheckpointError as error:
                _log.warning("%s. Trying the one before it.", error)
                continue
            for entry, name in forget:
                tree.get(entry, {}).pop(name, None)
            if like is None:
                return tree, meta
            where = f"checkpoint {self.folder / str(step)}"
            return _unflatten_like(like, _flatten(tree), where), meta
        if steps:
            raise CheckpointError(
                f"all checkpoints in {self.folder} are damaged (steps {steps}). Put back a copy, "
                "or move that folder away to start from the beginning"
            )
        return None

    def _read(self, step, only):
        from orbax import checkpoint as ocp

        folder = self.folder / str(step)
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            meta = reader.restore(folder / _META)
        if meta.get("meta_digest") != _meta_digest(meta):
            raise ValueError("the description (meta) does not agree with its digest")
        names = sorted({path.split("/")[0] for path in meta["digest"]})
        names = [name for name in names if only is None or name in only]
        flat = {}
        with ocp.StandardCheckpointer() as reader:
            for name in names:
                tree = reader.restore(folder / name)
                flat |= {(name, *path): np.asarray(leaf) for path, leaf in _flatten(tree).items()}
        for name, digest in meta["digest"].items():
            path = tuple(name.split("/"))
            if path[0] in names and (path not in flat or _digest(flat[path]) != digest):
                raise ValueError(f"array {name} does not agree with its digest")
        return flat, meta

    def _open(self):
        from orbax import checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def _set_aside(self, steps: list[int]) -> None:
        if not steps:
            return
        if jax.process_index() == 0:
            for step in steps:
                target = self.folder / f"{step}.damaged"
                shutil.rmtree(target, ignore_errors=True)
                (self.folder / str(step)).rename(target)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("checkpoints set aside")
        self._manager.reload()

    def _write_error(self, error: Exception) -> CheckpointError:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return CheckpointError(
            f"{self.folder}: cannot write a checkpoint ({type(error).__name__}: {reason}). "
            f"Complete ones are untouched: steps {self.steps()}. Make room or choose another "
            "folder, then repeat the command to go on from the newest"
        )
