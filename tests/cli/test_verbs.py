"""`facejax VERB`: the dispatcher, configurations by name, and verbs that ask the run."""

import importlib
import pathlib
import subprocess
import sys

import pytest

from facejax import cli
from facejax.commands import evaluate, generate, run_verb, train
from facejax.train.config import find_configs, split_config
from facejax.train.runs import find_systems
from facejax.train.verbs import Verb, system_verbs, verb_names
from facejax.version import __version__

ROOT = pathlib.Path(__file__).resolve().parents[2]
HELPERS = {"__init__", "common", "run_verb"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FACEJAX_TRACEBACK", raising=False)


def test_every_command_is_listed_and_has_a_script():
    modules = {p.stem for p in (ROOT / "facejax/commands").glob("*.py")} - HELPERS
    assert modules == set(cli.COMMANDS)
    scripts = {p.stem for p in (ROOT / "launch").glob("*.py")}
    assert scripts == {"main", *cli.COMMANDS} - {"train"}


def test_the_dispatcher(capsys):
    assert cli.main([]) == cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in cli.COMMANDS)
    assert cli.main(["--version"]) == 0 and __version__ in capsys.readouterr().out
    assert cli.main(["genrate"]) == 2
    assert "no verb 'genrate'. Did you mean 'generate'?" in capsys.readouterr().err
    assert cli.main(["systems"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name}: " in text for name in find_systems()) and "tbgan:smoke" in text


@pytest.mark.parametrize("verb", cli.COMMANDS)
def test_help_imports_nothing_heavy(verb):
    code = (
        "import sys; from facejax.cli import main\n"
        f"try: main(['{verb}', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print([m for m in ('jax', 'numpy', 'orbax', 'flax') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and f"facejax {verb}" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_configuration_goes_by_its_name_or_file(tmp_path, monkeypatch):
    own = ROOT / "configs/manifold.py"
    assert split_config("manifold:smoke") == (own, "smoke")
    assert split_config(str(own)) == (own, "")
    config, options = train.parse(["--config=manifold:smoke", "--config.seed=7"])
    assert config.data.num_rows == 80 and config.seed == 7
    assert str(options.workdir) == "runs/manifold"
    assert train.parse(["--config", "manifold:smoke", "--dry_run"])[1].dry_run
    # of the current folder before that of the path, before the package's own
    text = "def get_config(preset=None):\n    return {}\n"
    for place in ("on_path", "."):
        folder = tmp_path / place / "configs"
        folder.mkdir(parents=True)
        for name in ("manifold", "mine"):
            (folder / f"{name}.py").write_text(text)
        (folder / "helper.py").write_text("x = 1\n")
        monkeypatch.syspath_prepend(str(tmp_path / "on_path"))
        found = find_configs()
        expected = folder if place == "on_path" else pathlib.Path("configs")
        assert found["manifold"] == expected / "manifold.py"
        assert found["tbgan"] == ROOT / "configs/tbgan.py" and "helper" not in found


@pytest.mark.parametrize(
    "spec, message",
    [
        ("tbgam", "no configuration 'tbgam'. Did you mean 'tbgan'? Found: deep3d"),
        ("tbgan:smok", "--config=tbgan:smok: unknown preset 'smok'; wanted one of default, smoke"),
        ("configs/tbgan.py", "no such file. Did you mean 'tbgan'? Found: no configuration file; "),
    ],
)
def test_a_configuration_that_is_not_there(capsys, spec, message):
    assert train.main([f"--config={spec}"]) == 2
    assert message in capsys.readouterr().err


def test_every_verb_is_complete():
    for system in find_systems():
        for verb in system_verbs(system).values():
            for one in [verb] if isinstance(verb, Verb) else verb.values():
                assert one.help.endswith(".") and callable(one.flags) and callable(one.run)
    assert "analyze grid" in verb_names("tbgan") and "denoise" in verb_names("manifold")
    with pytest.raises(ValueError, match="no system 'tbgam'"):
        system_verbs("tbgam")


def _run_of(system, folder="run"):
    path = pathlib.Path(folder)
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(f'{{"system": "{system}"}}')


def test_help_of_a_run_is_that_of_its_system(capsys):
    _run_of("tbgan")
    assert generate.main(["--help", "--workdir=run"]) == 0
    text = capsys.readouterr().out
    assert "--expression-sweep" in text and "of the run (run)" in text
    assert run_verb.main("analyze", ["grid", "-h", "--workdir", "run"]) == 0
    assert "ROWSxCOLUMNS" in capsys.readouterr().out
    assert evaluate.main(["--help", "--workdir=run"]) == 0
    text = capsys.readouterr().out
    assert "facejax train --mode=evaluate" in text and "Runs of tbgan have no flags" in text
    assert "analyze grid" in text and "usage" not in text
    assert evaluate.main(["test", "--help"]) == 0
    assert "-sigma_shape" in capsys.readouterr().out


@pytest.mark.parametrize(
    "verb, argv, message",
    [
        ("generate", ["--workdir=run"], "run holds a run of 'manifold', which does not offer"),
        ("evaluate", ["tst", "--workdir=run"], "Did you mean 'evaluate test'?"),
        ("evaluate", ["-workdir", "run", "grid"], "does not offer 'evaluate grid'"),
        ("analyze", ["gird"], "no system offers 'analyze gird'. Did you mean 'analyze grid'?"),
        ("denoise", [], "facejax train --config=manifold --workdir=runs/manifold"),
        ("evaluate", ["test"], "runs/manifold holds no run"),
        ("edit", [], "facejax train --config=disco --workdir=runs/disco"),
        ("evaluate", [], "or the --workdir of an existing run"),
        ("evaluate", ["--workdir=none"], "or the --workdir of an existing run"),
    ],
)
def test_what_is_not_offered(capsys, verb, argv, message):
    _run_of("manifold")
    assert importlib.import_module(f"facejax.commands.{verb}").main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_flags_are_checked_before_anything_is_read(capsys):
    _run_of("tbgan")
    with pytest.raises(SystemExit) as end:
        generate.main(["--workdir=run"])
    assert end.value.code == 2
    assert "arguments are required: --out" in capsys.readouterr().err
