"""Runs commands under bad conditions: python -m tests.cli.conditions JOBS.json

JOBS.json is a list of {"name", "command", "condition", "folder"}: the command is a script and its
arguments, or 'facejax' and a verb, or '-m' and a module; it runs in the folder. Prints a JSON line
for each: name, exit code, stdout, stderr.

All packages are imported once, before any device starts, and every command runs in a fork: a
process of its own, to its very end, without the seconds that importing takes. FACEJAX_SLOW=1 starts
a Python for each.
"""

import gc
import importlib
import json
import os
import pathlib
import pkgutil
import resource
import runpy
import shutil
import sys
import tempfile
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHES = ("FACEJAX_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")
FULL_BYTES = 6_000  # a file may have, where the disk is "full"


def missing_platform():
    """A platform that jax knows by name and that is not here."""
    import importlib.util as found

    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    return "tpu" if any(found.find_spec(name) for name in plugins) else "cuda"


def apply(condition: str, folder: pathlib.Path) -> None:
    """Makes this process one under a condition."""
    if condition == "device":
        os.environ["JAX_PLATFORMS"] = missing_platform()
    elif condition in ("user", "service"):  # as in a container that was started for a number
        import pwd

        def unknown(uid):
            raise KeyError(f"getpwuid(): uid not found: {uid}")

        pwd.getpwuid = unknown
        for name in ("HOME", "USER", "LOGNAME", *CACHES):
            os.environ.pop(name, None)
    elif condition == "cache":
        (folder / "no_folder").write_bytes(b"")
        os.environ["FACEJAX_CACHE_DIR"] = str(folder / "no_folder" / "cache")
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    elif condition == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, FULL_BYTES))
    elif condition == "ascii":
        os.environ["PYTHONIOENCODING"] = "ascii"
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="ascii", errors="strict")


def run_here(command: list[str]) -> None:
    """What `python COMMAND` does, in this process; ends it."""
    if "jax" in sys.modules:  # it has read the environment already
        import jax

        jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS") or None)
        jax.config.update(
            "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or None
        )
    first, *rest = command
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "facejax":
        sys.argv = command
        from facejax.cli import main

        sys.exit(main())
    else:
        sys.argv = command
        sys.path.insert(0, str(pathlib.Path(first).parent))
        runpy.run_path(first, run_name="__main__")
    sys.exit(0)


def redirect(condition: str, out: str, err: str) -> None:
    """Gives the process its streams: files, or what the condition is about."""
    if condition == "closed":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(writer, 1)
    os.close(writer)
    number = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(number, 2)
    os.close(number)
    if condition == "service":  # without streams, too
        for number in range(3):
            os.close(number)
        sys.stdin = sys.stdout = sys.stderr = None


def run(job: dict, fresh: bool) -> dict:
    """One command, to its end."""
    condition, folder = job["condition"], pathlib.Path(job["folder"])
    place = tempfile.mkdtemp()
    out, err = (os.path.join(place, name) for name in ("out", "err"))
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        redirect(condition, out, err)
        os.chdir(folder)
        if fresh:
            only = [sys.executable, "-m", "tests.cli.conditions", "--only", json.dumps(job)]
            os.execv(sys.executable, only)
        apply(condition, folder)
        run_here(job["command"])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = [
        pathlib.Path(f).read_text("utf-8", "replace") if os.path.exists(f) else ""
        for f in (out, err)
    ]
    shutil.rmtree(place)
    return dict(name=job["name"], code=code, out=texts[0], err=texts[1])


def import_everything() -> None:
    """What commands import, so that forks have it."""
    import facejax

    for module in pkgutil.walk_packages(facejax.__path__, "facejax."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("orbax.checkpoint", "PIL.Image", "scipy.ndimage", "scipy.spatial", "tensorboardX",
                 "trimesh", "tqdm", "imageio"):  # fmt: skip
        importlib.import_module(name)


def main() -> None:
    """Runs the jobs and prints the results."""
    if sys.argv[1] == "--only":
        job = json.loads(sys.argv[2])
        apply(job["condition"], pathlib.Path(job["folder"]))
        return run_here(job["command"])
    jobs = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    fresh = bool(os.environ.get("FACEJAX_SLOW"))
    if not fresh:
        import_everything()
        from jax._src import xla_bridge

        assert not xla_bridge.backends_are_initialized()
    gc.freeze()  # what is there is not looked at again by every fork
    warnings.simplefilter("ignore")  # jax warns of forks, which hurt where a backend runs
    for job in jobs:
        result = run(job, fresh)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
