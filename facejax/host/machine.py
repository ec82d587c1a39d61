"""The one place that knows the machine: folders of the user, devices, permissions, free disk.

Every question is asked when its answer is needed, and every refusal is one `MachineError` that says
what to set. `facejax doctor` prints the same answers.
"""

import errno
import locale
import os
import pathlib
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TRIAL_BYTES = 4096  # a file without content can be made on a full disk too
_ADVICE = {
    "cuda": "For NVIDIA GPUs: pip install 'facejax[gpu]', on a machine that has one",
    "gpu": "NVIDIA GPUs are called cuda, AMD's rocm",
    "tpu": "For TPUs: pip install 'facejax[tpu]', on a machine that has them",
}


class MachineError(ValueError):
    """Something about the machine is in the way: a device, a folder, a permission, the disk."""

    exit_code = 1


# --- Folders of the user --------------------------------------------------------------------------


def home_folder() -> pathlib.Path:
    """The home folder of the user.

    Raises:
      MachineError: the user is unknown to the system and HOME is not set.
    """
    try:
        return pathlib.Path.home()
    except RuntimeError as error:
        raise MachineError(
            "this user has no home folder (no HOME, and unknown to the system). Set "
            "FACEJAX_CACHE_DIR to a folder for caches, or HOME"
        ) from error


def expand_user(path: str | os.PathLike) -> pathlib.Path:
    """A path whose leading `~` is the user's home folder.

    Raises:
      MachineError: see `home_folder`.
    """
    path = pathlib.Path(path)
    return home_folder().joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def cache_folder(*parts: str) -> pathlib.Path:
    """A place in the cache: FACEJAX_CACHE_DIR, else XDG_CACHE_HOME/facejax, else ~/.cache/facejax.

    Nothing is created.

    Args:
      *parts: of the path below it.

    Raises:
      MachineError: see `home_folder`.
    """
    own = os.environ.get("FACEJAX_CACHE_DIR")
    if own:
        return expand_user(own).joinpath(*parts)
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else home_folder() / ".cache").joinpath("facejax", *parts)


def compile_cache_folder() -> str:
    """Where jax keeps compiled programs: JAX_COMPILATION_CACHE_DIR, else `xla` in the cache.

    Returns:
      A path, or the address of a bucket (`is_remote`).

    Raises:
      MachineError: see `home_folder`.
    """
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(cache_folder("xla"))


def check_cache(folder: str | os.PathLike) -> None:
    """`check_writable` of a cache, whose message says what to set.

    Raises:
      MachineError: no file can be made there.
    """
    if is_remote(folder):
        return
    try:
        check_writable(folder)
    except MachineError as error:
        own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
        name = "JAX_COMPILATION_CACHE_DIR" if str(folder) == own else "FACEJAX_CACHE_DIR"
        raise MachineError(f"{error}. Set {name} to a folder that can be written") from error


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is an address, `gs://...`, which says nothing about this machine's disks."""
    return "://" in str(path)


def working_folder() -> pathlib.Path:
    """The current folder.

    Raises:
      MachineError: it was removed, or this user may not look into the folders above it.
    """
    try:
        return pathlib.Path.cwd()
    except OSError as error:
        raise MachineError(
            f"the current folder does not exist any more ({error.strerror}): cd to another one"
        ) from error


# --- Permissions and room -------------------------------------------------------------------------


def _existing(path: str | os.PathLike) -> pathlib.Path:
    """The path itself, or the nearest folder above it that exists."""
    path = pathlib.Path(path)
    path = path if path.is_absolute() else working_folder() / path
    return next(p for p in (path, *path.parents) if os.path.lexists(p) or p == p.parent)


def check_writable(folder: str | os.PathLike) -> None:
    """Tries to write in a folder, which need not exist yet; nothing is left behind.

    Trying is the only test that is true for root, on read-only and network file systems, and on
    Windows.

    Args:
      folder: files will be made in it.

    Raises:
      MachineError: no file can be made there; the text names the folder and the reason.
    """
    place = _existing(folder)
    if not place.is_dir():
        found = "is a file" if place.exists() else "does not exist"
        raise MachineError(f"{folder}: cannot write there: {place} {found}, wanted a folder")
    try:
        with tempfile.TemporaryFile(prefix=".facejax.", dir=place) as file:
            file.write(bytes(_TRIAL_BYTES))
    except OSError as error:
        todo = ": make room, or choose another folder" if error.errno in _FULL else ""
        raise MachineError(f"{folder}: cannot write there ({error.strerror}){todo}") from error


def stops_all(
    error: BaseException, source: str | os.PathLike, out: str | os.PathLike | None = None
) -> bool:
    """Whether trouble with one file of many is the machine's, so that the others would meet it too.

    A full disk, a folder that cannot be written, too many open files: no reason to step over the
    file that was worked on, and even less to put it aside.

    Args:
      error: what was raised.
      source: the file that was read.
      out: the folder that was written to, if one was.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return False  # a decoder's
    if error.errno in (*_FULL, errno.EROFS, errno.EMFILE, errno.ENFILE):
        return True
    if out is None or not isinstance(error.filename, str | os.PathLike):
        return False
    place = pathlib.Path(error.filename)
    return place != pathlib.Path(source) and place.is_relative_to(out)


def free_bytes(path: str | os.PathLike) -> int | None:
    """Bytes that this user may still write where a path lies; None where nobody knows.

    Args:
      path: of a file or folder, which need not exist yet.
    """
    try:
        return shutil.disk_usage(_existing(path)).free
    except OSError:
        return None


def check_space(path: str | os.PathLike, needed_bytes: int) -> None:
    """Refuses a job that will not fit on the disk.

    Args:
      path: where it will write; need not exist yet.
      needed_bytes: how much.

    Raises:
      MachineError: less is free.
    """
    free = free_bytes(path)
    if free is not None and free < needed_bytes:
        raise MachineError(
            f"{path}: {format_bytes(needed_bytes)} are needed and {format_bytes(free)} are free: "
            "make room or choose another folder"
        )


def format_bytes(count: int) -> str:
    """'12 bytes', '3.4 MiB', '120 GiB'."""
    if count < 1024:
        return f"{count} bytes"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"


# --- Devices --------------------------------------------------------------------------------------


def devices() -> "list[jax.Device]":
    """Starts jax's backends, if they are not running yet, and returns its devices.

    Raises:
      MachineError: a platform that was asked for is not there, or does not start.
    """
    import jax

    try:
        return jax.devices()
    except Exception as error:  # AssertionError or RuntimeError, by platform and version of jax
        raise MachineError(_no_devices(jax.config.jax_platforms or "", error)) from error


def _no_devices(platforms: str, error: Exception) -> str:
    reason = " ".join(str(error).partition("(set JAX_PLATFORMS")[0].split())
    reason = f" ({reason})" if reason else ""
    if not platforms:
        return (
            f"no device starts{reason}. JAX_PLATFORMS=cpu does without accelerators; "
            "`pip uninstall` the plugin of one that is not there"
        )
    names = [name.strip().lower() for name in platforms.split(",")]
    known = ["cpu", *_ADVICE]
    if platforms != ",".join(names) and set(names) <= set(known):
        advice = [f"Names are written in small letters without blanks: {','.join(names)}"]
    else:
        advice = [_ADVICE[name] for name in names if name in _ADVICE]
    return ". ".join(
        [
            f"JAX_PLATFORMS={platforms}: this machine, or this installation of jax, has no such "
            f"device{reason}",
            *advice,
            "Unset JAX_PLATFORMS to take what there is, or set it to cpu",
        ]
    )


# --- All of it, for doctor ------------------------------------------------------------------------


def describe() -> dict[str, Any]:
    """Everything that this module knows, JSON-able.

    Returns:
      'devices': {'backend', 'kinds', 'processes'} or {'error'}; 'caches': {name: folder}, a folder
      being {'path', 'files', 'mib', 'writable', 'problem', 'free'}; 'temporary': a folder; 'home'
      and 'working_folder': {'path'} or {'error'}; 'encodings': {'locale', 'file_names', 'stdout'};
      'problems': one text per thing that is wrong.
    """
    devices, working = _describe_devices(), _asked(working_folder)
    caches = {
        "compiled_programs": _describe_folder(compile_cache_folder),
        "face_models_and_programs": _describe_folder(cache_folder),
    }
    temporary = _describe_folder(tempfile.gettempdir, count=False)
    parts = [devices, working, *caches.values(), temporary]
    return dict(
        devices=devices,
        caches=caches,
        temporary=temporary,
        home=_asked(home_folder),
        working_folder=working,
        encodings=dict(
            locale=locale.getpreferredencoding(False),
            file_names=sys.getfilesystemencoding(),
            stdout=getattr(sys.stdout, "encoding", None) or "none",
        ),
        problems=[text for p in parts if (text := p.get("error") or p.get("problem"))],
    )


def _describe_devices() -> dict[str, Any]:
    try:
        every = devices()
    except MachineError as error:
        return dict(error=str(error))
    import jax

    kinds: dict[str, int] = {}
    for device in every:
        kinds[device.device_kind] = kinds.get(device.device_kind, 0) + 1
    return dict(backend=jax.default_backend(), kinds=kinds, processes=jax.process_count())


def _asked(question) -> dict[str, str]:
    try:
        return dict(path=str(question()))
    except MachineError as error:
        return dict(error=str(error))


def _describe_folder(question, count: bool = True) -> dict[str, Any]:
    """A folder that files are made in: size, free room, whether it can be written."""
    unknown = dict(path="", files=0, mib=0.0, writable=False, problem="", free="")
    try:
        path = str(question())
    except (MachineError, OSError) as error:
        return unknown | dict(problem=" ".join(str(error).split()))
    if is_remote(path):
        return unknown | dict(path=path, writable=True)
    check = check_cache if count else check_writable
    sizes = _sizes(path) if count else []
    found = dict(path=path, files=len(sizes), mib=round(sum(sizes) / 2**20, 1))
    try:
        check(path)
        problem = ""
    except MachineError as error:
        problem = str(error)
    free = free_bytes(path)
    free = "" if free is None else format_bytes(free)
    return found | dict(writable=not problem, problem=problem, free=free)


def _sizes(folder: str) -> list[int]:
    sizes = []
    for place, _, names in os.walk(folder):  # passes over folders that this user may not read
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(place, name)).st_size)
            except OSError:  # another process has just removed it
                continue
    return sizes
