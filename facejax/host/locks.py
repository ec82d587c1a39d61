"""One writer per folder, on any file system, also after the writer before was killed.

A lock is a hidden folder inside the folder that it guards, `.facejax-lock`, which holds
`owner.json`: who writes there. Readers never look at it.

**Taking it.** The lock is made under a name of its own and renamed into place. Renaming a folder
onto one with content fails on every file system, network ones included, so of all processes that
try one succeeds, and nobody ever sees a lock without its owner.

**Whether the owner lives.** On the machine that it runs on (the same boot of the same kernel, the
same process namespace) its number and the time when it began tell: numbers are used again, both
together are not. From elsewhere its heartbeat tells: a thread of the owner touches `owner.json`
every 10 seconds. One touched within the last minute, by the clock of the file system, lives. One
that looks older, or is from the future, is watched for a minute: clocks that disagree must not kill
anybody.

**Taking over.** The lock of a dead owner X is not removed: two who both saw X dead could remove
each other's. The new owner renames its own record into X's lock under the name `after-X`. Again one
succeeds. The owner of a lock is the last of the chain that begins with `owner.json`; a record after
somebody who is not in the chain, put there by one who was asleep while the lock was released and
taken afresh, counts for nothing. Who put a record down looks whether it is the last of the chain
before believing it.

**Letting go.** The whole lock is renamed away, then removed. A process that finds, on letting go or
by `FolderLock.check`, that it was taken for dead (a suspended machine) leaves the lock alone.

A lock belongs to one thread of one process: the same thread may take it again, a child of a fork
does not have it.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Container, Iterator

from facejax.host.files import is_visible
from facejax.host.machine import MachineError

LOCK = ".facejax-lock"
_RECORD = "owner.json"
_BEAT_SECONDS = 10.0
_FRESH_SECONDS = 60.0  # an owner that was heard of within them lives
_WATCH_SECONDS = 60.0  # how long one that was not is watched
_LEFT_SECONDS = 3600.0  # parts of locks that killed processes left are removed after an hour
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT)  # of a rename, by another process


class LockError(MachineError):
    """Another process writes into the folder; the text says which, since when, and what to do."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
      id: of this one time that a lock was taken; '' where the record is damaged.
      host: name of the machine, for people.
      machine: identity of the machine, its boot and the namespace of process numbers.
      pid, started: number of the process, and when it began, as the system tells it ('' unknown).
      since: when the lock was taken, local time.
      purpose: what the process does with the folder.
    """

    id: str
    host: str
    machine: str
    pid: int
    started: str
    since: str
    purpose: str


class FolderLock:
    """A lock that is held.

    Attributes:
      owner: this process, as the lock names it.
    """

    def __init__(self, place: pathlib.Path, owner: Owner):
        self.owner = owner
        self._place, self._ended = place, threading.Event()

    def check(self) -> None:
        """Whether the lock is still held; to be asked before something that cannot be undone.

        Raises:
          LockError: this process was taken for dead, or somebody removed the lock.
        """
        held = _holder(self._place)
        if held is None or held[1].id != self.owner.id:
            who = f"{_words(held[1])} took it over" if held else "it was removed"
            raise LockError(
                f"{self._place.parent}: this process does not hold the folder any more: {who}, "
                "because this one gave no sign of life. Nothing more is written; start again when "
                "the other one has ended"
            )

    def _beat(self, record: pathlib.Path) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            with contextlib.suppress(OSError):  # a server that is away for a while
                os.utime(record)


_held: dict[str, tuple[int, FolderLock]] = {}  # lock folder: (thread, lock) of this process
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.clear)


@contextlib.contextmanager
def folder_lock(
    folder: str | os.PathLike,
    purpose: str,
    part: str = "",
    beside: Container[str] | None = None,
) -> Iterator[FolderLock]:
    """Holds the lock of a folder while the block runs, so that no other process writes there.

    The folder is made. Whoever only reads needs no lock. The lock is gone when the block ends, with
    or without an error; one that a killed process left is taken over.

    Args:
      folder: that something is written into over a time.
      purpose: what this process does, for the message that others get: 'training'.
      part: name of a lock of its own, for what may be written beside the rest; '' for the folder.
      beside: the parts that others may hold at the same time; None for all.

    Yields:
      The lock.

    Raises:
      LockError: another process, or another thread of this one, holds it.
      OSError: no lock can be made there.
    """
    folder = pathlib.Path(os.path.realpath(folder))
    with _made(folder), _lock(_place(folder, part), purpose) as lock:
        for other, owner in held_parts(folder).items() if beside is not None else ():
            if other != part and other not in beside:
                raise LockError(_refusal(folder, _place(folder, other), owner))
        yield lock


@contextlib.contextmanager
def _made(folder: pathlib.Path) -> Iterator[None]:
    """Makes a folder, and removes it again when nothing has come into it."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty, or gone
            for place in made:
                place.rmdir()


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike, purpose: str) -> Iterator[pathlib.Path]:
    """A folder to write into that appears under its name, whole, when the block ends.

    After an error nothing is left behind; what a killed process left is removed by the next one.

    Args:
      folder: the name; must not exist, or be a folder without visible files.
      purpose: see `folder_lock`.

    Yields:
      The folder to write into, beside the final one: `.NAME.partial`.

    Raises:
      ValueError: there is something of that name.
      LockError: another process is making it.
    """
    folder = pathlib.Path(os.path.realpath(folder))
    check_new(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    place = folder.with_name(f".{folder.name}{LOCK}")
    with _made(folder.parent), _lock(place, purpose, folder) as lock:
        check_new(folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            lock.check()
            check_new(folder)
            if folder.exists():  # empty, or with what a file manager hides there
                for path in folder.iterdir():
                    path.rename(partial / path.name)
                folder.rmdir()  # a rename replaces no folder everywhere
            partial.rename(folder)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError) and error.errno is not None:
                named = str(folder if error.filename is None else error.filename)
                error.filename = named.replace(str(partial), str(folder))
            raise


def check_new(folder: str | os.PathLike) -> None:
    """Refuses a name that `new_folder` could not use, before work is spent on it.

    Raises:
      ValueError: it is that of a file, or of a folder that is not empty.
    """
    folder = pathlib.Path(folder)
    if folder.is_dir():
        found = sorted(path.name for path in folder.iterdir() if is_visible(path))
        if found:
            some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            raise ValueError(
                f"{folder} exists and is not empty ({some}): choose another folder or remove it"
            )
    elif folder.exists():
        raise ValueError(f"{folder} exists and is a file: choose another folder or remove it")


def _place(folder: pathlib.Path, part: str) -> pathlib.Path:
    return folder / (f"{LOCK}-{part}" if part else LOCK)


def held_parts(folder: str | os.PathLike) -> dict[str, Owner]:
    """The locks of a folder whose owners live: {part: owner}, as `folder_lock` names parts.

    Args:
      folder: need not exist.
    """
    folder, found = pathlib.Path(os.path.realpath(folder)), {}
    for place in folder.glob(f"{LOCK}*") if folder.is_dir() else ():
        if "." not in place.name[1:] and (held := _holder(place)) and _lives(*held):
            found[place.name.removeprefix(LOCK).removeprefix("-")] = held[1]
    return found


# --- Taking and letting go ------------------------------------------------------------------------


@contextlib.contextmanager
def _lock(
    place: pathlib.Path, purpose: str, guarded: pathlib.Path | None = None
) -> Iterator[FolderLock]:
    """Holds the lock with a path.

    Args:
      place: of the lock.
      purpose: of the process.
      guarded: what is locked, for messages; by default the folder of the lock.
    """
    thread, lock = _held.get(str(place), (None, None))
    if thread == threading.get_ident():  # a caller of this function holds it already
        yield lock
        return
    owner = _myself(purpose)
    record = _take(place, owner, guarded or place.parent)
    lock = FolderLock(place, owner)
    try:
        _remove_leftovers(place, record)
        _held[str(place)] = threading.get_ident(), lock
        beat = threading.Thread(
            target=lock._beat, args=[record], name=f"lock of {place.parent}", daemon=True
        )
        beat.start()
        yield lock
    finally:
        lock._ended.set()
        if owner.pid == os.getpid():  # not in a child that was forked inside the block
            _held.pop(str(place), None)
            _let_go(place, owner)


def _take(place: pathlib.Path, owner: Owner, guarded: pathlib.Path) -> pathlib.Path:
    """Makes `owner` that of a lock; returns its record, for the heartbeat."""
    mine = place.with_name(f"{place.name}.{owner.id}")
    try:
        while True:
            held = _holder(place)
            if held is not None and _lives(*held):
                raise LockError(_refusal(guarded, place, held[1]))
            if not mine.exists():
                mine.mkdir()
                text = json.dumps(dataclasses.asdict(owner), indent=1)
                (mine / _RECORD).write_text(text + "\n", encoding="utf-8")
            target = place if held is None else place / f"after-{held[1].id}"
            try:
                mine.rename(target)
            except OSError as error:
                if error.errno not in _TAKEN and not target.is_dir():
                    raise
                time.sleep(0.01)  # somebody was faster
                continue
            if (now := _holder(place)) is not None and now[1].id == owner.id:
                return now[0] / _RECORD
            # The dead one's lock was released and taken afresh in between: this was its successor.
            shutil.rmtree(target, ignore_errors=True)
    except BaseException:
        shutil.rmtree(mine, ignore_errors=True)
        _let_go(place, owner)
        raise


def _let_go(place: pathlib.Path, owner: Owner) -> None:
    with contextlib.suppress(OSError):  # the folder is gone, or the server away: then it lapses
        held = _holder(place)
        if held is not None and held[1].id == owner.id:
            away = place.with_name(f"{place.name}.{owner.id}")
            place.rename(away)
            shutil.rmtree(away, ignore_errors=True)


def _remove_leftovers(place: pathlib.Path, record: pathlib.Path) -> None:
    """Removes what processes that were killed while they took or let go this lock left."""
    with contextlib.suppress(OSError):
        now = record.stat().st_mtime  # the clock of the file system
        for path in place.parent.glob(f"{place.name}.*"):
            if now - path.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _holder(place: pathlib.Path) -> tuple[pathlib.Path, Owner] | None:
    """(folder of the record, owner) of a lock: the last of its chain. None where it is free."""
    owner = _read(place)
    if owner is None:
        return None
    where = place
    while (after := _read(place / f"after-{owner.id}")) is not None:
        where, owner = place / f"after-{owner.id}", after
    return where, owner


def _read(folder: pathlib.Path) -> Owner | None:
    for _ in range(3):  # it may be taken afresh between the two questions
        try:
            found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            return Owner(**{field.name: found[field.name] for field in dataclasses.fields(Owner)})
        except (FileNotFoundError, NotADirectoryError):
            if not folder.is_dir():
                return None
        except (ValueError, TypeError, KeyError, PermissionError):
            break  # cut by a crash of the machine, or of another user: its heartbeat tells
    return Owner("", "", "", 0, "", "", "")


# --- Whether an owner lives -----------------------------------------------------------------------


def _lives(where: pathlib.Path, owner: Owner) -> bool:
    if owner.machine and owner.machine == _machine():
        lives = _process_lives(owner.pid, owner.started)
        if lives is not None:
            return lives
    return _beats(where)


def _beats(where: pathlib.Path) -> bool:
    """Whether the heartbeat of the record in a folder goes on."""
    try:
        first = _touched(where)
        probe = where.parent / f"{LOCK}.{uuid.uuid4().hex}"
        probe.mkdir()
        try:
            age = probe.stat().st_mtime - first
        finally:
            probe.rmdir()
        if abs(age) < _FRESH_SECONDS:
            return True
        end = time.monotonic() + _WATCH_SECONDS
        while time.monotonic() < end:
            time.sleep(min(1.0, _WATCH_SECONDS / 10))
            if _touched(where) != first:
                return True
    except FileNotFoundError:  # let go in the meantime
        pass
    return False


def _touched(where: pathlib.Path) -> float:
    try:
        with contextlib.suppress(PermissionError), open(where / _RECORD, "rb"):
            pass  # on opening, NFS asks the server
        return (where / _RECORD).stat().st_mtime
    except FileNotFoundError:  # the record is lost, or the lock is
        return where.stat().st_mtime


def _process_lives(pid: int, started: str) -> bool | None:
    """Whether a process of this machine runs; None where that cannot be known."""
    if os.name != "posix":
        return None  # os.kill(pid, 0) ends processes elsewhere
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    found = _started(pid)
    return None if found == "" or started == "" else found == started


def _started(pid: int) -> str | None:
    """When a process began, as the system tells it; None for a dead one, '' where it is hidden."""
    if sys.platform == "linux":
        try:
            text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return "" if pid != os.getpid() and _exists(pid) else None
        except OSError:
            return ""
        fields = text.rpartition(")")[2].split()  # after the name, which may hold anything
        return None if fields[0] in "ZX" else fields[19]  # zombie: killed, and not yet waited for
    try:
        found = subprocess.run(
            ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
            capture_output=True, encoding="utf-8", errors="replace", timeout=10,
            env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    state, _, began = found.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else began.strip()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _machine() -> str:
    """Identity of this machine, its boot and the namespace of its process numbers.

    Two machines, or two containers, of one name differ; where they cannot be told apart, the worst
    that happens is that the heartbeat decides.
    """
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _myself(purpose: str) -> Owner:
    return Owner(
        id=uuid.uuid4().hex,
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        started=(_started(os.getpid()) or "") if os.name == "posix" else "",
        since=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
        purpose=purpose,
    )


# --- Messages -------------------------------------------------------------------------------------


def _words(owner: Owner) -> str:
    if not owner.id:
        return "a process that is unknown (its record is damaged)"
    if owner.machine == _machine() and owner.pid == os.getpid():
        return f"this process ({owner.purpose}, since {owner.since})"
    return f"process {owner.pid} on {owner.host} ({owner.purpose}, since {owner.since})"


def _refusal(guarded: pathlib.Path, place: pathlib.Path, owner: Owner) -> str:
    todo = "Wait until it has ended, or give another folder"
    if owner.machine != _machine():
        seconds = round(_FRESH_SECONDS + _WATCH_SECONDS)
        todo += (
            f"; if it was killed, the same command goes on once nothing was heard of it for "
            f"{seconds} s (or remove {place})"
        )
    return f"{guarded} is in use by {_words(owner)}. {todo}"
