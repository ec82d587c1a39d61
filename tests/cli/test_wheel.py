"""What `pip wheel .` packs: the configurations, the self-test's numbers, the `facejax` command."""

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

HEAD = ("head.npz", "LICENSE.txt", "PROVENANCE.md")
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what a wheel is built from: building leaves folders beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("facejax", "configs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in (
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "MANIFEST.in",
        "constraints-py311.txt",
    ):
        shutil.copy(ROOT / name, folder)
    return folder


def _run(*command, cwd):
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_runs_outside_a_checkout(source, tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "-q"]
    if int(importlib.metadata.version("setuptools").split(".")[0]) >= 77:  # as pyproject.toml asks
        options.append("--no-build-isolation")  # else pip fetches a newer one
    _run(*pip, "wheel", source, *options, "-w", tmp_path, cwd=tmp_path)
    (wheel,) = tmp_path.glob("facejax-*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        (entry,) = [n for n in names if n.endswith(".dist-info/entry_points.txt")]
        assert "facejax = facejax.cli:main" in file.read(entry).decode()
    configs = {f"facejax/configs/{f.name}" for f in (ROOT / "configs").glob("*.py")}
    assert configs and configs <= names and "facejax/selftest.npz" in names
    assert {f"facejax/morphable/makehuman/{n}" for n in HEAD} <= names
    modules = (f for f in (ROOT / "facejax").rglob("*.py"))
    assert {str(f.relative_to(ROOT)) for f in modules} <= names
    assert not [n for n in names if n.startswith(("tests/", "launch/", "configs/"))]

    # -I and -c: neither PYTHONPATH nor the current folder may lend the checkout
    site = tmp_path / "site"
    _run(*pip, "install", "-q", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    code = f"import sys; sys.path.insert(0, {str(site)!r}); sys.exit(__import__('facejax.cli').cli."
    (tmp_path / "elsewhere").mkdir()

    def facejax(*argv):
        line = f"{code}main({list(argv)!r}))"
        return _run(sys.executable, "-I", "-c", line, cwd=tmp_path / "elsewhere")

    assert str(site / "facejax/systems/tbgan") in facejax("systems")
    assert "makehuman" in facejax("doctor", "--no-self_test")
    text = facejax("train", "--config=tbgan:smoke", "--dry_run")
    assert '"system": "tbgan"' in text and "16x16" in text


def test_the_source_distribution_has_the_configurations(source, tmp_path):
    _run(sys.executable, "setup.py", "-q", "sdist", "-d", tmp_path, cwd=source)
    (archive,) = tmp_path.glob("facejax-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path)
    (folder,) = (p for p in tmp_path.iterdir() if p.is_dir())
    assert (folder / "configs/tbgan.py").is_file()
    assert (folder / "facejax/selftest.npz").is_file()
    assert all((folder / "facejax/morphable/makehuman" / name).is_file() for name in HEAD)
