"""Commands that are printed for the user to paste: quoted, whatever the paths in them."""

import ast
import pathlib
import re
import shlex
import types

import pytest

from facejax import readers
from facejax.train.runs import find_systems, read_run_config, system_module

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(f for p in ("facejax", "launch", "data_prep") for f in (ROOT / p).rglob("*.py"))
COMMAND = re.compile(r"\b(facejax [a-z_]+ |tensorboard |launch/|data_prep/)")
ODD = pathlib.Path('v/my run\'s "best": ü')


def unquoted(source: str) -> list[int]:
    """The lines of f-strings that put a value into a command without quoting it."""
    found = []
    for string in ast.walk(ast.parse(source)):
        if not isinstance(string, ast.JoinedStr):
            continue
        before = ""
        for part in string.values:
            if isinstance(part, ast.Constant):
                before += part.value
            else:
                quotation = before.rpartition("`")[2] if before.count("`") % 2 else ""
                flag = before.endswith(("=", "--logdir ")) and COMMAND.search(before)
                if flag or COMMAND.search(quotation):
                    found.append(string.lineno)
                before += "x"
    return found


def test_the_rule_catches_what_it_should():
    assert unquoted('f"More: facejax generate --workdir={workdir} --num=8"')
    assert unquoted('(f"curves: tensorboard "\n  f"--logdir {workdir}")')
    assert not unquoted("f\"More: {command_line('facejax', 'generate', f'--workdir={w}')}\"")
    assert unquoted('f"make one with `data_prep/dataset_tool.py convert DIR {root}`"')
    assert not unquoted('f"--workdir={workdir}: wanted a run"')


def test_no_value_is_put_into_a_command_without_quotes():
    bad = [(str(f.relative_to(ROOT)), n) for f in FILES for n in unquoted(f.read_text("utf-8"))]
    assert not bad


def commands(lines):
    """The commands in what is printed, as words."""
    found = []
    for line in lines:
        for match in re.finditer(r"(facejax|tensorboard) .*", line):
            found.append(shlex.split(match[0]))
    return found


@pytest.mark.parametrize("name", find_systems())
def test_what_a_system_prints_at_the_end_can_be_pasted(name):
    system = system_module(name)
    (kind,) = (v for v in vars(system).values() if hasattr(v, "closing_lines"))
    run = types.SimpleNamespace(config=types.SimpleNamespace(data=types.SimpleNamespace(source="")))
    found = commands(kind.closing_lines(run, ODD))
    assert found and all(str(ODD) in words[-1] or str(ODD) in words[2] for words in found)


def test_other_commands_that_hold_a_path(tmp_path):
    from facejax.pipelines.regressors import load_regressor
    from facejax.systems.tbgan.importer import closing_lines

    (words,) = commands(closing_lines({"lod": 0.0}, ODD))
    assert words[:3] == ["facejax", "generate", f"--workdir={ODD}"]
    for call in (lambda: read_run_config(ODD, "tbgan"), lambda: load_regressor(ODD)):
        with pytest.raises(ValueError) as caught:
            call()
        (words,) = (shlex.split(text) for text in re.findall("`(.*)`", str(caught.value)))
        assert words[:2] == ["facejax", "train"] and words[-1] == f"--workdir={ODD}"


def test_what_the_doctor_says_to_type(tmp_path):
    folder = tmp_path / ODD.name
    folder.mkdir()
    (folder / "config.json").write_text('{"system": "tbgan"}', encoding="utf-8")
    (found,) = readers.recognise(folder)
    assert shlex.split(found.use.partition(";")[0])[-1] == f"--workdir={folder}"
