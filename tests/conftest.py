"""Settings of every test: CPU, four simulated devices, quick compilation, strict rank promotion.

The environment is set before jax is imported, so that tests that start subprocesses inherit it.
"""

import os
import pathlib
import signal
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile more than they compute; the older emitters take a third of the time of the new ones.
QUICK_COMPILER = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
_flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _flags:
    _flags = f"{_flags} --xla_force_host_platform_device_count=4"
if "xla_backend_optimization_level" not in _flags:
    _flags = f"{_flags} {QUICK_COMPILER}"
os.environ["XLA_FLAGS"] = _flags.strip()
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "facejax-test-cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
SLOW = bool(os.environ.get("FACEJAX_SLOW"))  # run what is marked slow, and more of some others
UNDER_WAY = ("disco", "varitex")  # systems whose smallest presets still compile for minutes


def pytest_collection_modifyitems(items):
    """What is marked slow runs with FACEJAX_SLOW=1 only."""
    for item in items:
        if not SLOW and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: FACEJAX_SLOW=1 runs it"))


@pytest.fixture
def rng() -> np.random.Generator:
    """A numpy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def heard_signals():
    """This process and its children hear what nohup and shells make background jobs ignore."""
    ignored = [s for s in (signal.SIGINT, getattr(signal, "SIGHUP", None))
               if s and signal.getsignal(s) == signal.SIG_IGN]  # fmt: skip
    for s in ignored:
        own = signal.default_int_handler if s == signal.SIGINT else signal.SIG_DFL
        signal.signal(s, own)
    yield
    for s in ignored:
        signal.signal(s, signal.SIG_IGN)


@pytest.fixture(autouse=True, scope="module")
def _free_compiled_programs():
    """Compiled programs of one file are dropped after it.

    Each holds memory maps, of which a process may have some 65,000: the whole suite in one process
    comes near that, and the compiler then crashes.
    """
    yield
    import gc

    import jax

    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def _strict_rank_promotion():
    """Shapes of different rank never broadcast by accident."""
    import jax

    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def nobody(tmp_path, monkeypatch) -> str:
    """The user is one that the system does not know, without HOME; gives a folder to write to."""
    pwd = pytest.importorskip("pwd", reason="users of Windows have a home")

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "FACEJAX_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return str(tmp_path / "cache")
