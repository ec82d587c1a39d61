import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

import facejax.systems
from facejax.commands import evaluate, train
from facejax.host import machine
from facejax.train.run_folder import check_evaluation, write_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = """
from tests.train.toy import toy_config
from facejax.train.config import choose_preset

def get_config(preset=None):
    preset = choose_preset(preset, ("default", "short"))
    config = toy_config(log_every=2)
    with config.unlocked():
        config.model = dict(width=3, shape=(1, 2))
        config.total_kimg = 0.04 if preset == "short" else 0.24
    return config
"""


@pytest.fixture
def config_file(tmp_path, monkeypatch):
    """configs/toy.py in the current folder, and the system that it names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "toy.py").write_text(CONFIG)
    (tmp_path / "broken.py").write_text("def get_config(): return x\n")
    folder = tmp_path / "facejax/systems/toy"
    folder.mkdir(parents=True)
    (folder / "system.py").write_text("from tests.train.toy import make_system\n")
    path = [*facejax.systems.__path__, str(tmp_path / "facejax/systems")]
    monkeypatch.setattr(facejax.systems, "__path__", path)
    monkeypatch.delenv("FACEJAX_TRACEBACK", raising=False)
    return "configs/toy.py"


def _main(*arguments):
    return train.main(arguments)


def test_train_resume_and_evaluate(config_file, tmp_path, capsys):
    command = [f"--config={config_file}:short", "--nocompile_cache"]
    assert _main(*command) == 0
    assert "Exports: runs/toy/export.npy" in capsys.readouterr().out
    assert _main(*command) == 0
    assert "the run is complete" in (tmp_path / "runs/toy/log.txt").read_text()
    assert _main("--mode=evaluate", "--workdir=runs/toy", "--nocompile_cache") == 0
    out = capsys.readouterr().out
    assert "norms" in out and "gen" in out and "{" not in out
    assert json.loads((tmp_path / "runs/toy/evaluation.json").read_text())["step"] == 5
    assert _main(*command, "--config.lr=0.7") == 2
    assert "lr was 0.05, now 0.7" in capsys.readouterr().err
    # what training refuses, its neighbours do too
    for mode in (["--mode=evaluate"], ["--mode=evaluate", "--dry_run"], ["--dry_run"]):
        assert _main(*command, "--config.lr=0.7", *mode) == 2
        error = capsys.readouterr().err
        assert "lr was 0.05, now 0.7" in error and error.count("\n") == 1
    assert evaluate.main(["--all", *command, "--config.lr=0.7"]) == 2
    assert "lr was 0.05, now 0.7" in capsys.readouterr().err
    other = ["--config=manifold:smoke", "--workdir=runs/toy", "--nocompile_cache"]
    assert _main(*other, "--mode=evaluate") == 2
    assert "runs/toy holds a run of 'toy', wanted 'manifold'" in capsys.readouterr().err


def test_a_run_is_measured_with_other_settings_of_measuring_and_nothing_else(tmp_path):
    kept = dict(system="x", lr=1.0, data=dict(path="a", size=3), evaluate=dict(num=5))
    kept |= dict(dtype="float32", init_from="", init_with="")
    write_config(tmp_path, kept)
    moved = kept | dict(data=dict(path="b", size=3), evaluate=dict(num=9), log_every=7)
    check_evaluation(tmp_path, moved)
    with pytest.raises(ValueError, match="data.size was 3, now 4"):
        check_evaluation(tmp_path, kept | dict(data=dict(path="a", size=4)))
    with pytest.raises(ValueError, match="holds a run of 'x', wanted 'y'"):
        check_evaluation(tmp_path, kept | dict(system="y"))
    with pytest.raises(ValueError, match="config.json is missing: .* holds no run"):
        check_evaluation(tmp_path / "none", kept)


def test_overrides_and_options(config_file):
    config, options = train.parse(
        [f"--config={config_file}", "--config.model.width=5", "--config.model.shape=(3, 4)",
         "--parallel=pmap", "--workdir=there", "--profile_steps=3", "--dry_run"]
    )  # fmt: skip
    assert config.model.width == 5 and config.model.shape == (3, 4)
    assert config.parallel == "pmap" and config.is_locked
    assert options.workdir == pathlib.Path("there")
    assert options.profile_steps == 3 and options.dry_run and options.compile_cache


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --config=NAME, one of deep3d, disco, idnet, manifold, tbgan, toy, varitex"),
        (["--config=configs/toi.py"], "no such file. Did you mean 'configs/toy.py'?"),
        (
            ["--config=configs/toy.py:shrt"],
            "--config=configs/toy.py:shrt: unknown preset 'shrt'; wanted one of default, short. "
            "Did you mean 'short'?",
        ),
        (["--config=configs/toy.py", "--config.sed=1"], "Did you mean 'config.seed'?"),
        (["--config=configs/toy.py", "--config.model.wdth=1"], "'config.model.width'?"),
        (["--config=configs/toy.py", "--config.lr=much"], "--config.lr=much: could not convert"),
        (["--config=configs/toy.py", "--config.seed=1.5"], "--config.seed=1.5"),
        (["--config=configs/toy.py", "--config.lazy=maybe"], "boolean flag: 'maybe'"),
        (["--config=configs/toy.py", "--wrkdir=x"], "Did you mean: workdir"),
        (["--config=configs/toy.py", "--mode=play"], "--mode=play: wanted one of"),
        (["--config=configs/toy.py", "word"], "unexpected argument 'word'"),
        (["--config=configs/toy.py", "--config.system=toi"], "no system 'toi'"),
        (["--config=configs/toy.py", "--parallel=both"], "parallel must be one of"),
        (["--config=configs/toy.py", "--num_processes=2"], "without a coordinator"),
        (["--config.seed=3"], "needs --config=NAME"),
        (["--config=configs/toy.py", "--config.log_every=0"], "config.log_every is 0, wanted at"),
        (["--config=configs/toy.py", "--config.accumulate=0", "--dry_run"], "accumulate is 0"),
        (["--config=configs/toy.py", "--config.seed=-1"], "config.seed is -1, wanted at least 0"),
        (["--config=configs/toy.py", "--config.lr=nan"], "config.lr is nan, wanted a finite"),
        (["--config=configs/toy.py", "--config.total_kimg=0"], "has 0 images, wanted at least one"),
        (["--config=configs/toy.py", "--config.total_kimg=-1", "--dry_run"], "at least one"),
        (["--config=configs/toy.py", "--config.system=tbgan"], "use --config=tbgan"),
        (["--config=C:\\configs\\toy.py"], "C:\\configs\\toy.py: no such file"),
        (["--config=broken.py"], "--config=broken.py: cannot be read: NameError: name 'x'"),
        (["--config=configs/toy.py", "--mode=evaluate"], "no checkpoint yet"),
    ],
)
def test_mistakes_are_one_message_and_lose_nothing(
    config_file, tmp_path, capsys, arguments, message
):
    assert _main(*arguments, "--nocompile_cache") == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.count("\n") == 0 and error.startswith("error: ")
    assert not (tmp_path / "runs").exists()


def test_colons_belong_to_paths_that_exist(config_file, tmp_path):
    folder = tmp_path / "C:" / "my configs"
    folder.mkdir(parents=True)
    for name in ("toy.py", "toy.py:short"):
        (folder / name).write_text((tmp_path / config_file).read_text())
    file = f"{folder}/toy.py"
    config, _ = train.parse([f"--config={file}:default", "--config.seed=7"])
    assert config.total_kimg == 0.24 and config.seed == 7
    assert train.parse(["--config", f"{folder}/toy.py:short:short"])[0].total_kimg == 0.04
    (folder / "toy.py:short").unlink()
    assert train.parse([f"--config={file}:short"])[0].total_kimg == 0.04


def test_values_of_a_run_are_changed_without_its_config(config_file, tmp_path):
    write_config("runs/a", train.load_config(f"{config_file}:short"))
    config, options = train.parse(["--workdir", "runs/a", "--config.lr=0.7"])
    assert (config.lr, config.total_kimg, str(options.workdir)) == (0.7, 0.04, "runs/a")


def test_dry_run_shows_stages_and_starts_nothing(config_file, tmp_path, capsys):
    assert _main(f"--config={config_file}", "--dry_run") == 0
    out = capsys.readouterr().out
    assert '"width": 3' in out and "gen 20, disc 16" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["one", "8", "96"] in rows and ["two", "16", "144"] in rows
    assert not (tmp_path / "runs").exists()


def test_disk_trouble_is_exit_code_1(config_file, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert _main(f"--config={config_file}", "--workdir=file/run", "--nocompile_cache") == 1
    assert "file/run: cannot write there: " in capsys.readouterr().err


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("FACEJAX_CACHE_DIR", raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine.compile_cache_folder() == str(tmp_path / "facejax" / "xla")
    monkeypatch.delenv("XDG_CACHE_HOME")
    home = pathlib.Path.home() / ".cache" / "facejax" / "xla"
    assert machine.compile_cache_folder() == str(home)
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path / "mine"))
    assert machine.compile_cache_folder() == str(tmp_path / "mine" / "xla")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/programs")
    assert machine.compile_cache_folder() == "gs://bucket/programs"


def test_help_answers_without_heavy_imports():
    code = (
        "import sys; from facejax.commands import train;"
        "status = train.main(['--help'], doc='What it is.');"
        "print(status, [m for m in ('jax', 'orbax', 'flax', 'optax') if m in sys.modules])"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("What it is.") and "--[no]dry_run" in done.stdout
    assert done.stdout.strip().endswith("0 []")
    assert time.monotonic() - started < 10  # about 0.3 s on an idle machine


def test_the_script_itself(tmp_path):
    command = [sys.executable, str(ROOT / "launch" / "main.py"), "--config=none.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2 and done.stderr.startswith("error: --config: none.py: no such file")


def test_tables_are_aligned():
    from facejax.train.describe import format_table

    text = format_table([{"a": 1, "b": 0.5}, {"a": 12345, "c": "x"}])
    assert [len(line) for line in text.splitlines()] == [len("     a    b  c")] * 3
    assert "12,345" in text and np.char.count(text, "0.5") == 1
