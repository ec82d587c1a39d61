"""Checkpoints that are whole or absent, and that notice damage.

Orbax writes each step into a folder that appears under its name only when it is complete. It does
not notice a flipped byte, so a digest of every array is kept beside the data; a step that is
damaged is passed over in favour of the one before it. Nothing else is: a step that cannot be read
now (permissions, a server, memory), or one of another program, model or version, is an error that
says so. What fails for a reason outside the files is never called damage (`_cause`).
"""

import errno
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from facejax.host import machine
from facejax.host.process import show_tracebacks

_log = logging.getLogger(__name__)
_META = "meta"
_META_FILE = "metadata"  # orbax' name of the file in it
_FORMAT = 1  # of a step; goes up when older versions could not read it any more
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = tuple(map(os.strerror, _FULL))  # as errors of other layers contain them
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Of tensorstore, which says by a word what kind of error it met: none of these is about content.
_OUTSIDE = re.compile(
    r"\b(RESOURCE_EXHAUSTED|PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|DEADLINE_EXCEEDED|"
    r"CANCELLED|ABORTED|UNIMPLEMENTED)\b"
)
# Kinds of exceptions that say what they are, whatever was done when they were raised.
_OWN_WORDS = ("XlaRuntimeError", "JaxRuntimeError", "MemoryError", "ImportError",
              "ModuleNotFoundError", "MachineError")  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or none can be read; the text says what to do."""

    exit_code = 1


class DamagedCheckpointError(CheckpointError):
    """The files of a checkpoint are there and can be read, and what they hold is not whole."""


class UnreadableCheckpointError(CheckpointError):
    """The files cannot be read now: permissions, a broken disk or server, too many open files."""


class ForeignCheckpointError(CheckpointError):
    """A checkpoint of another model, another program, or a newer version of this one."""


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
      ForeignCheckpointError: names, shapes or dtypes differ.
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
        raise ForeignCheckpointError(
            f"{where} is of another model: {'; '.join(problems[:5])}{more}. Use the configuration "
            "that wrote it, or another folder"
        )
    structure = jax.tree.structure(like)
    return jax.tree.unflatten(structure, [flat[path] for path in wanted])


# --- Why something failed -------------------------------------------------------------------------


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, those that it was raised from, and the members of groups."""
    seen, left = set(), [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:300]} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _unreadable(where: str, path: Any, reason: str) -> UnreadableCheckpointError:
    return UnreadableCheckpointError(
        f"{where} cannot be read: {path}: {reason}. It may be in order: let this user read the "
        "folder and all in it, or wait until the disk or server answers, then repeat the command"
    )


def _cause(folder: pathlib.Path, where: str, error: Exception) -> Exception:
    """The error to raise for one that was met while the arrays of a step were read.

    Damage is what is left when all else is excluded: the process has memory and devices, every file
    can be read to its end, and another checkpoint, written here and now, is read back.
    """
    for one in _chain(error):
        if {kind.__name__ for kind in type(one).__mro__} & {*_OWN_WORDS}:
            return one
        if isinstance(one, OSError) and one.errno not in (None, *_ABSENT):
            return _unreadable(where, one.filename or folder, one.strerror)
    try:
        _read_all(folder)
    except OSError as trouble:
        if trouble.errno not in _ABSENT:
            return _unreadable(where, trouble.filename or folder, trouble.strerror)
    for one in _chain(error):
        if found := _OUTSIDE.search(str(one)):
            return _unreadable(where, folder, f"{found[1]}, {_reason(one)}")
    if not folder.is_dir():
        return CheckpointError(f"{where} was removed while it was read: repeat the command")
    try:
        _try_reading()
    except Exception as trouble:
        return CheckpointError(
            f"{where} cannot be read here, and neither can one that was just written "
            f"({_reason(trouble)}): that is no fault of the checkpoint"
        )
    return DamagedCheckpointError(f"{where} is damaged ({_reason(error)})")


def _read_all(folder: pathlib.Path) -> None:
    def fail(error):
        raise error

    for place, _, names in os.walk(folder, onerror=fail):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def _try_reading() -> None:
    """Writes and reads a tiny checkpoint as steps are written and read."""
    from orbax import checkpoint as ocp

    with tempfile.TemporaryDirectory(prefix="facejax-") as place:
        path = pathlib.Path(place, "tried")
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, {"x": np.arange(3)})
            checkpointer.wait_until_finished()
            if list(checkpointer.restore(path)["x"]) != [0, 1, 2]:
                raise ValueError("other numbers come back")


class _QuietOrbax(logging.Filter):
    """Drops what orbax logs about failures in its threads: they are raised here as well.

    A full disk is a dozen records of a thousand letters. FACEJAX_TRACEBACK=1 shows them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record of absl's logger is shown."""
        return show_tracebacks() or f"{os.sep}orbax{os.sep}" not in record.pathname

    def __enter__(self) -> None:
        logging.getLogger("absl").addFilter(self)

    def __exit__(self, *unused) -> None:
        logging.getLogger("absl").removeFilter(self)


class _RaisedAlready(logging.Filter):
    """Drops what asyncio says, whenever they are collected, of orbax' tasks of a failed write."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record of asyncio's logger is shown."""
        text = record.getMessage()
        ours = "exception was never retrieved" in text and f"{os.sep}orbax{os.sep}" in text
        return show_tracebacks() or not ours


_RAISED_ALREADY = _RaisedAlready()


class Checkpoints:
    """The checkpoints of one run. Every process calls every method.

    A context manager; leaving it waits for the last write. Nothing is created before the first
    `save`. Who saves holds the lock of the run (`facejax.host.locks`); readers need none, and may
    read while a run goes on. They change nothing.

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
        self._quiet = _QuietOrbax()
        self._failed = False  # a write: its unfinished folder is in the way

    def steps(self) -> list[int]:
        """The steps that are written completely, oldest first.

        Raises:
          UnreadableCheckpointError: the folder cannot be listed.
        """
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unreadable("the folder of checkpoints", self.folder, error.strerror) from error
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, step: int, tree: Any, meta: dict[str, Any]) -> None:
        """Writes a step in the background; the arrays may be donated as soon as this returns.

        Steps from `step` on that exist already are leftovers that `restore_latest` passed over:
        they are read once more and, if they are damaged, renamed to '<step>.damaged'.

        Args:
          step: the number of the step, >= 0.
          tree: pytree of arrays, replicated over devices. Its top-level entries can be restored
            separately.
          meta: JSON-able facts about the step.

        Raises:
          CheckpointError: this write, or the one before it, failed, or a step from `step` on is in
            order. Earlier steps are intact.
        """
        from orbax import checkpoint as ocp

        # A copy: on CPU a numpy view shares the memory that the next step overwrites.
        flat = {path: np.array(leaf) for path, leaf in _flatten(tree).items()}
        meta = meta | {
            "format": _FORMAT,
            "step": int(step),
            "digest": {"/".join(path): _digest(leaf) for path, leaf in flat.items()},
        }
        meta = json.loads(json.dumps(meta))
        items = {name: ocp.args.StandardSave(sub) for name, sub in _nest(flat).items()}
        items[_META] = ocp.args.JsonSave(meta | {"meta_digest": _meta_digest(meta)})
        try:
            if self._manager is None:
                with self._quiet:
                    self._manager = self._open()
                self._quiet.__enter__()  # until `close`: threads write in between
            self._manager.wait_until_finished()
            self._set_aside([found for found in self.steps() if found >= step])
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        except CheckpointError:
            raise
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
        """Waits for the last write and frees the threads; clears away what a failed write left."""
        if self._manager is None:
            return
        try:
            self.wait()
        finally:
            manager, self._manager = self._manager, None
            try:
                manager.close()
            except Exception as error:
                if not self._failed:  # else it was raised before
                    raise self._write_error(error) from error
            finally:
                self._quiet.__exit__()
                self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        """Removes what a failed write left: on a full disk it is in the way."""
        failed, self._failed = self._failed, False
        if failed and jax.process_index() == 0:
            for path in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(path, ignore_errors=True)

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
          DamagedCheckpointError, UnreadableCheckpointError: it cannot be read.
          ForeignCheckpointError: it is of another program or a newer version, or does not fit
            `like`.
          CheckpointError: there is no such step.
          MachineError: jax finds no device; nothing was read.
        """
        where = f"checkpoint {self.folder / str(step)}"
        flat, meta = self._read(step, only)
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
          DamagedCheckpointError: there are checkpoints and all are damaged.
          UnreadableCheckpointError, ForeignCheckpointError: the newest that is not damaged cannot
            be read, or is of another program, version or (with `like`) model.
          MachineError: jax finds no device; nothing was read.
        """
        tried, damaged = set(), []
        while steps := [step for step in self.steps() if step not in tried]:
            step = steps[-1]  # asked again each time: a run that goes on writes and removes some
            tried.add(step)
            try:
                tree, meta = self.restore(step, only=only)
            except DamagedCheckpointError as error:
                if os.path.lexists(self.folder / str(step)):
                    damaged.append(step)
                    _log.warning("%s. Trying the one before it.", error)
                continue
            except CheckpointError:
                if os.path.lexists(self.folder / str(step)):
                    raise
                continue
            for entry, name in forget:
                tree.get(entry, {}).pop(name, None)
            if like is None:
                return tree, meta
            where = f"checkpoint {self.folder / str(step)}"
            return _unflatten_like(like, _flatten(tree), where), meta
        if damaged:
            raise DamagedCheckpointError(
                f"all checkpoints in {self.folder} are damaged (steps {sorted(damaged)}). Put back "
                "a copy, or move that folder away to start from the beginning"
            )
        return None

    def _read(self, step, only):
        from orbax import checkpoint as ocp

        machine.devices()  # orbax asks for them: without any, everything would look damaged
        folder = self.folder / str(step)
        where = f"checkpoint {folder}"
        meta = self._read_meta(folder, where)
        names = sorted({path.split("/")[0] for path in meta["digest"]})
        names = [name for name in names if only is None or name in only]
        flat = {}
        try:
            with _QuietOrbax(), ocp.StandardCheckpointer() as reader:
                for name in names:
                    found = _flatten(reader.restore(folder / name))
                    flat |= {(name, *path): np.asarray(leaf) for path, leaf in found.items()}
            for name, digest in meta["digest"].items():
                path = tuple(name.split("/"))
                if path[0] in names and (path not in flat or _digest(flat[path]) != digest):
                    raise ValueError(f"array {name} does not agree with its digest")
        except Exception as error:  # of any kind: what a layer makes of what it met
            raise _cause(folder, where, error) from error
        return flat, meta

    def _read_meta(self, folder: pathlib.Path, where: str) -> dict[str, Any]:
        """The description of a step, checked against its digest."""
        path = folder / _META / _META_FILE
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise self._without_meta(folder, where) from error
        except OSError as error:
            raise _unreadable(where, path, error.strerror) from error
        try:
            meta = json.loads(text)
        except ValueError as error:
            raise DamagedCheckpointError(f"{where} is damaged ({path}: {error})") from error
        if not isinstance(meta, dict) or not {"digest", "meta_digest", "step"} & meta.keys():
            raise _foreign(where, f"{path} is not facejax's")
        if isinstance(version := meta.get("format", 1), int) and version > _FORMAT:
            raise ForeignCheckpointError(
                f"{where} was written by a newer version of facejax (format {version}, this one "
                f"reads {_FORMAT}): pip install --upgrade facejax"
            )
        if meta.get("meta_digest") != _meta_digest(meta):
            raise DamagedCheckpointError(
                f"{where} is damaged ({path} does not agree with its digest)"
            )
        return meta

    def _without_meta(self, folder: pathlib.Path, where: str) -> CheckpointError:
        """What to say of a step whose description is missing."""
        if not os.path.lexists(folder):
            return CheckpointError(f"{where}: there is no such step; found {self.steps()}")
        if not folder.is_dir():
            return _foreign(where, "it is a file")
        try:
            entries = sorted(path.name for path in folder.iterdir())
            handlers = json.loads((folder / "_CHECKPOINT_METADATA").read_bytes())["item_handlers"]
            ours = isinstance(handlers, dict) and _META in handlers
        except FileNotFoundError:
            # orbax puts this file into every step, but a copy that was cut may lack it too
            ours = not entries or any(os.path.exists(folder / e / "_METADATA") for e in entries)
        except OSError as error:
            return _unreadable(where, error.filename or folder, error.strerror)
        except (ValueError, KeyError, TypeError):
            ours = True  # no other program's is damaged in just this place
        if not ours:
            return _foreign(where, f"it holds {', '.join(entries[:3])}")
        return DamagedCheckpointError(f"{where} is damaged ({folder / _META} is missing)")

    def _open(self):
        from orbax import checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def _set_aside(self, steps: list[int]) -> None:
        if not steps:
            return
        problem = None
        if jax.process_index() == 0:
            try:
                self._rename_damaged(steps)
            except (CheckpointError, OSError) as error:
                problem = error
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            failed = multihost_utils.process_allgather(np.int32(problem is not None))
            if np.any(failed) and problem is None:
                problem = CheckpointError(f"{self.folder}: process 0 cannot write a checkpoint")
        if problem is not None:
            raise problem
        self._manager.reload()

    def _rename_damaged(self, steps: list[int]) -> None:
        for step in steps:
            try:
                self._read(step, None)
            except DamagedCheckpointError:
                target = self.folder / f"{step}.damaged"
                shutil.rmtree(target, ignore_errors=True)
                (self.folder / str(step)).rename(target)
            else:
                raise CheckpointError(
                    f"{self.folder} holds a checkpoint of step {step} that is in order, although "
                    f"this run has not come so far: it was put there by something else. Move "
                    f"{self.folder / str(step)} away, or repeat the command to go on from it"
                )

    def _write_error(self, error: Exception) -> Exception:
        """The error to raise for one that was met while a step was written."""
        self._failed = True
        logging.getLogger("asyncio").addFilter(_RAISED_ALREADY)
        reason, todo = _reason(error), "Repeat the command to go on from the newest"
        for one in _chain(error):
            if {kind.__name__ for kind in type(one).__mro__} & {*_OWN_WORDS}:
                return one
            number = getattr(one, "errno", None)
            full = [words for words in _FULL_WORDS if words.lower() in str(one).lower()]
            if full or number in _FULL:
                reason = full[0] if full else os.strerror(number)
                todo = "Make room or choose another folder, then repeat the command to go on from "
                todo += "the newest"
                break
            if number in _DENIED or "PERMISSION_DENIED" in str(one):
                todo = "Let this user write there or choose another folder, then repeat the command"
                reason = _reason(one)
                break
        return CheckpointError(
            f"{self.folder}: cannot write a checkpoint ({reason}). Complete ones are untouched: "
            f"steps {self.steps()}. {todo}"
        )


def _foreign(where: str, found: str) -> ForeignCheckpointError:
    return ForeignCheckpointError(
        f"{where} is not one of facejax's: {found}. Give the folder of a run, or move it away"
    )
