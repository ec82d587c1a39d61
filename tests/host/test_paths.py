"""PATH[:NAME] and printed commands, also as Windows writes them."""

import shlex

import pytest

from facejax.host import paths, shell
from facejax.host.paths import split_name


@pytest.mark.parametrize(
    "text, there, wanted",
    [
        ("runs/a", [], ("runs/a", "")),
        ("runs/a:gen", [], ("runs/a", "gen")),
        ("runs/a:gen, disc", ["runs/a"], ("runs/a", "gen, disc")),
        ("run:1", ["run:1"], ("run:1", "")),
        ("run:1:gen", ["run:1"], ("run:1", "gen")),
        ("run:1:gen", ["run:1", "run"], ("run:1", "gen")),
        ("run:1", ["run:1", "run"], ("run:1", "")),  # the longest
        ("12:30:00/run:gen", ["12:30:00/run", "12"], ("12:30:00/run", "gen")),
        (r"C:\runs\a", [], (r"C:\runs\a", "")),
        (r"C:\runs\a:gen", [], (r"C:\runs\a", "gen")),
        (r"C:\runs\a:gen", [r"C:\runs\a", "C"], (r"C:\runs\a", "gen")),
        (r"C:\runs\a", ["C"], (r"C:\runs\a", "")),  # a folder of that name on Linux
        ("C:/runs/a", [], ("C:/runs/a", "")),
        (r"\\server\share\run:gen", [], (r"\\server\share\run", "gen")),
        ("runs/a:", ["runs/a"], ("runs/a", "")),
        (":gen", [], (":gen", "")),
        ("tbgan:smoke", [], ("tbgan", "smoke")),
    ],
)
def test_a_colon_is_part_of_a_path_that_exists(text, there, wanted):
    assert split_name(text, lambda path: path in there) == wanted


def test_a_letter_before_a_colon_is_a_drive_on_windows_alone(monkeypatch):
    assert split_name("C:toy.py", lambda path: False) == ("C", "toy.py")
    monkeypatch.setattr(paths.os, "name", "nt")
    assert split_name("C:toy.py", lambda path: False) == ("C:toy.py", "")


WORDS = ["facejax", "generate", "--workdir=v/my run", '--out=it\'s "new": $HOME', "ü", ""]


def test_a_printed_command_can_be_pasted():
    assert shlex.split(shell.command_line(*WORDS)) == WORDS
    assert shell.command_line("facejax", "evaluate", "--workdir=runs/a") == (
        "facejax evaluate --workdir=runs/a"
    )


def test_a_printed_command_is_quoted_as_windows_does(monkeypatch):
    monkeypatch.setattr(shell.os, "name", "nt")
    line = shell.command_line("facejax", r"--workdir=C:\my run", r"--out=C:\plain")
    assert line == r'facejax "--workdir=C:\my run" --out=C:\plain'
