"""Text files are read and written as UTF-8 whatever the locale: every call names its encoding."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PLACES = ("facejax", "launch", "data_prep", "configs")
FILES = [ROOT / "setup.py", *sorted(f for p in PLACES for f in (ROOT / p).rglob("*.py"))]
# numpy.savetxt writes Latin-1 everywhere, and numbers only
TEXT = {"read_text", "write_text", "FileHandler", "loadtxt", "genfromtxt"}
MODES = {"open": 1, "fdopen": 1, "NamedTemporaryFile": 0, "TemporaryFile": 0}  # index of the mode
OTHER_MODULES = {"Image", "os", "archive", "file", "zipfile", "tarfile", "flax"}  # open() of theirs


def name_of(call: ast.Call) -> tuple[str, str]:
    """(what stands before the dot, name) of what is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        value = function.value
        return (value.id if isinstance(value, ast.Name) else "?"), function.attr
    return "", getattr(function, "id", "")


def without_encoding(source: str) -> list[int]:
    """The lines of calls that open text and leave the encoding to the locale."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        module, name = name_of(call)
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in keywords or None in keywords:
            continue
        if name in ("run", "Popen", "check_output"):
            if {"text", "universal_newlines"} & set(keywords):
                found.append(call.lineno)
        elif name in TEXT:
            if module:  # else `host.files.read_text`
                found.append(call.lineno)
        elif name in MODES and not (name == "open" and module in OTHER_MODULES):
            index = MODES[name] - (name == "open" and bool(module))  # path.open(mode)
            index += name == "open" and module in ("io", "gzip", "codecs")
            mode = keywords.get("mode") or (call.args[index] if len(call.args) > index else None)
            mode = mode.value if isinstance(mode, ast.Constant) else None
            binary_default = name.endswith("TemporaryFile") or module == "gzip"
            if "b" not in (mode or ("rb" if binary_default else "r")):
                found.append(call.lineno)
    return found


def test_the_rule_catches_what_it_should():
    for bad in (
        "open(p)", "open(p, 'w', newline='')", "p.open()", "p.open('w')", "p.read_text()",
        "p.write_text(x)", "np.loadtxt(p)", "logging.FileHandler(p)", "io.open(p, 'r')",
        "tempfile.NamedTemporaryFile('w')", "os.fdopen(n, 'w')", "gzip.open(p, 'rt')",
        "subprocess.run(x, text=True)",
    ):  # fmt: skip
        assert without_encoding(bad), bad
    for good in (
        "open(p, 'rb')", "p.open('wb')", "p.read_text(encoding='utf-8')", "Image.open(p)",
        "read_text(p)", "tempfile.TemporaryFile(dir=d)", "gzip.open(p)",
        "np.loadtxt(p, encoding='utf-8')", "archive.open(name)", "os.open(p, flags)",
    ):  # fmt: skip
        assert not without_encoding(good), good


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_text_files_name_their_encoding(file):
    assert not without_encoding(file.read_text(encoding="utf-8"))


def test_setup_reads_its_files_in_any_locale():
    """As `LC_ALL=zh_CN.GBK pip install .` needs: here a locale that knows ASCII alone."""
    environment = os.environ | dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    environment |= dict(PYTHONIOENCODING="utf-8")  # of what it prints
    command = [sys.executable, "setup.py", "-q", "--long-description"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert done.stdout.decode().strip() == text.strip()
    assert not text.isascii()  # else this test says nothing
