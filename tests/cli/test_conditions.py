"""Every command under bad conditions: a missing platform, an unknown user, a cache that cannot be
written, a full disk, a closed stdout, letters and signs in paths.

Each is one line on stderr and the right exit code; nothing half-written is left behind. The quick
commands run always; FACEJAX_SLOW=1 adds those that compile much, and starts a Python for each.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from facejax import cli
from facejax.train.config import load_config
from facejax.train.run_folder import write_config
from tests.conftest import QUICK_COMPILER, SLOW

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks")
ROOT = pathlib.Path(__file__).resolve().parents[2]
ODD = 'it\'s a "new" face: ü'
PREP = {path.stem: str(path) for path in sorted((ROOT / "data_prep").glob("*.py"))}
PREP.pop("sets")  # no program
LAUNCH = {path.stem: str(path) for path in sorted((ROOT / "launch").glob("*.py"))}

SMALL = [
    "--config=manifold:smoke", "--config.model.targets=expression", "--config.model.net=mlp",
    "--config.model.hidden=8", "--config.schedule.total_kimg=0.016",
]  # fmt: skip
# what computes: {name: command}; {x} are folders of the fixture
COMPUTE = {
    "train": [LAUNCH["main"], *SMALL, "--workdir={new}"],
    "train -m": ["-m", "facejax", "train", *SMALL, "--workdir={new}"],
    "evaluate": ["facejax", "evaluate", "--workdir={run}"],
    "evaluate --mode": [LAUNCH["main"], "--mode=evaluate", "--workdir={run}"],
    "evaluate --all": [LAUNCH["evaluate"], "--all", "--workdir={run}"],
    "evaluate test": [LAUNCH["evaluate"], "test", "--workdir={run}", "--size=2", "--out={new}"],
    "denoise": [LAUNCH["denoise"], "--workdir={run}", "--path={coefficients}", "--out={new}"],
    "generate": [LAUNCH["generate"], "--workdir={gan}", "--num=1", "--out={new}"],
    "analyze": [LAUNCH["analyze"], "grid", "--workdir={gan}", "--size=1x1", "--out={new}"],
    "reconstruct": [
        LAUNCH["reconstruct"], "--method=fit", "--steps=1", "--input={photo}", "--out={new}",
        "--no_check", "--texture_size=32",
    ],
    "make_dataset": [
        LAUNCH["make_dataset"], "--num=1", "--resolution=32", "--look=head", "--out={new}",
    ],
    "import_weights": [LAUNCH["import_weights"], "--system=tbgan", "--input=x", "--out={new}"],
    "compare_shapes": [LAUNCH["compare_shapes"], "{mesh}", "{mesh}", "--same_vertices"],
    "import_bfm": [PREP["import_bfm"], "{empty}", "--out={new}/x.npz"],
    "build_head": [PREP["build_head"], "{empty}", "--out={new}/x.npz"],
    "make_manifold_data": [
        PREP["make_manifold_data"], "--out={new}", "--num_rows=60", "--num_test=10", "--repeats=1",
        "--samples=0",
    ],
    "preprocess_images": [PREP["preprocess_images"], "--img_path={photos}", "--save_path={new}"],
    "create_from_model": [PREP["dataset_tool"], "create_from_model", "{new}", "--num=8"],
    "create_from_images": [PREP["dataset_tool"], "create_from_images", "{new}", "{photos}"],
    "create_image_set": [PREP["dataset_tool"], "create_image_set", "{new}", "{photos}"],
    "create_from_maps": [
        PREP["dataset_tool"], "create_from_maps", "{new}", "--texture={photos}", "--shape={photos}",
        "--normals={photos}",
    ],
    "create_from_pkl": [PREP["dataset_tool"], "create_from_pkl", "{new}", "{photos}"],
    "create_from_hdf5": [PREP["dataset_tool"], "create_from_hdf5", "{new}", "x.h5"],
    "info": [PREP["dataset_tool"], "info", "{empty}"],
    "display": [PREP["dataset_tool"], "display", "{empty}", "--out={new}/x.png"],
    "extract": [PREP["dataset_tool"], "extract", "{empty}", "{new}"],
    "compare": [PREP["dataset_tool"], "compare", "{empty}", "{empty}"],
    "convert": [PREP["dataset_tool"], "convert", "{empty}", "{new}"],
}  # fmt: skip
# what needs no device: it works without one
PLAIN = {
    "help": ["facejax", "--help"],
    "systems": [LAUNCH["systems"]],
    "doctor PATH": ["facejax", "doctor", "{run}"],
    "edit": [LAUNCH["edit"], "--help"],
    "dry run": [LAUNCH["main"], "--config=manifold:smoke", "--workdir={new}", "--dry_run"],
}
DOCTOR = {
    "doctor": [LAUNCH["doctor"], "--no-self_test"],
    "doctor -m": ["-m", "facejax.doctor", "--no-self_test"],
    "doctor -m cli": ["-m", "facejax.cli", "doctor", "--no-self_test", "--json"],
}
# (command, condition): with the exit code; the disk is full for the files that a command makes
WORKS = {
    **{("train", condition): 0 for condition in ("cache", "service")},
    **{(name, "user"): 0 for name in ("systems", "doctor PATH")},
    **{(name, "closed"): 0 for name in ("systems", "help", "doctor", "doctor PATH")},
    **{(name, "ascii"): 0 for name in ("systems", "help", "doctor PATH")},
    ("train", "full"): 1,
    ("preprocess_images", "full"): 1,
}
FIRST = ("train", "cache")  # the run that others use
if SLOW:
    slow = ("train", "evaluate", "evaluate test", "denoise", "generate", "make_dataset",
            "reconstruct", "make_manifold_data", "create_from_model")  # fmt: skip
    for condition in ("good", "user", "cache", "closed", "service", "ascii"):
        WORKS |= {(name, condition): 0 for name in slow}
    full = ("evaluate", "generate", "make_dataset", "make_manifold_data", "create_from_model")
    WORKS |= {(name, "full"): 1 for name in full}


def jobs(folders):
    """The list for `tests.cli.conditions`."""
    every = COMPUTE | PLAIN | DOCTOR
    wanted = [FIRST]
    if SLOW:
        wanted.append(("train gan", "good"))
        every = every | {"train gan": [LAUNCH["main"], "--config=tbgan:smoke", "--workdir={gan}"]}
    wanted += [(name, "device") for name in [*COMPUTE, *PLAIN, *DOCTOR]]
    wanted += [(name, condition) for name in DOCTOR for condition in ("cache", "user")]
    wanted += WORKS
    found = []
    for name, condition in dict.fromkeys(wanted):
        new = folders["run"] if (name, condition) == FIRST else (
            folders["base"] / ODD / f"{name} {condition}".replace("-", "")
        )  # fmt: skip
        values = folders | {"new": new}
        command = [word.format_map(values) for word in every[name]]
        found.append(dict(name=f"{name}|{condition}", condition=condition, command=command,
                          folder=str(folders["base"]), new=str(new)))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{(name, condition): {'code', 'out', 'err', 'new'}}."""
    from PIL import Image

    base = tmp_path_factory.mktemp("conditions")
    folders = {name: base / ODD / name for name in ("run", "gan", "empty", "photos")}
    folders |= {"base": base, "photo": folders["photos"] / "a.png", "mesh": base / ODD / "m.obj"}
    folders["coefficients"] = base / ODD / "c.npz"
    folders["empty"].mkdir(parents=True)
    folders["photos"].mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (256, 256, 3), np.uint8)
    Image.fromarray(pixels).save(folders["photo"])
    points = np.array([[90, 100], [166, 100], [128, 140], [96, 180], [160, 180]])
    np.savetxt(folders["photos"] / "a.txt", points)
    folders["mesh"].write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", encoding="utf-8")
    np.savez(folders["coefficients"], sp=np.zeros((2, 20)), ep=np.zeros((2, 6)))
    if not SLOW:  # enough to be asked for; no network of it is used
        write_config(folders["gan"], load_config("tbgan:smoke"))
    listed = jobs(folders)
    (base / "jobs.json").write_text(json.dumps(listed), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "FACEJAX_TRACEBACK"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.conditions", str(base / "jobs.json")], cwd=ROOT,
        env=environment
        | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK_COMPILER},
        stdout=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0
    lines = {r["name"]: r for r in map(json.loads, done.stdout.splitlines())}
    assert len(lines) == len(listed)
    return {tuple(j["name"].split("|")): lines[j["name"]] | {"new": j["new"]} for j in listed}


def errors(result):
    """The lines of stderr that begin as errors do; nothing of it is a traceback."""
    text = result["err"] + result["out"]
    assert "Traceback" not in text and 'File "' not in text and "Exception ignored" not in text
    return [line for line in result["err"].splitlines() if line.startswith("error: ")]


def leftovers(folder):
    """Files and folders that a writer did not finish."""
    names = [p.name for p in pathlib.Path(folder).rglob("*")]
    return [n for n in names if n.startswith(".") or n.endswith((".tmp", ".partial"))]


def test_every_command_is_here():
    scripts = {word for line in (COMPUTE | PLAIN | DOCTOR).values() for word in line}
    assert {*PREP.values(), *LAUNCH.values()} <= scripts
    verbs = set(cli.COMMANDS)
    names = {name.split()[0] for name in (COMPUTE | PLAIN | DOCTOR)}
    assert verbs <= names
    text = pathlib.Path(PREP["dataset_tool"]).read_text("utf-8")
    assert {*re.findall(r"dataset_tool.py (\w+) ", text)} <= names | {"create_from_pkl_img_norm"}


@pytest.mark.parametrize("name", COMPUTE)
def test_a_missing_platform_is_one_line(results, name):
    result = results[name, "device"]
    (line,) = errors(result)
    assert result["code"] == 1 and line.startswith("error: JAX_PLATFORMS=")
    assert result["err"].count("\n") == 1 and result["out"] == ""
    assert not os.path.exists(result["new"])


@pytest.mark.parametrize("name", PLAIN)
def test_what_needs_no_device_works_without_one(results, name):
    assert results[name, "device"]["code"] == 0 and not errors(results[name, "device"])


@pytest.mark.parametrize("condition", ["device", "cache", "user"])
@pytest.mark.parametrize("name", DOCTOR)
def test_the_doctor_is_not_content(results, name, condition):
    result = results[name, condition]
    assert result["code"] == 1 and not errors(result)
    if "cli" in name:
        report = json.loads(result["out"])
        assert not report["healthy"] and report["problems"]
    else:
        assert "All is well." not in result["out"]
        assert ("FAIL: JAX_PLATFORMS=" if condition == "device" else "NOT WRITABLE") in result[
            "out"
        ]
    warnings = [line for line in result["err"].splitlines() if line.startswith("warning: ")]
    assert len(warnings) == (condition != "device")


@pytest.mark.parametrize("name, condition", WORKS)
def test_commands_under_conditions(results, name, condition):
    result, code = results[name, condition], WORKS[name, condition]
    found = errors(result)
    assert result["code"] == code, result["err"]
    assert len(found) == (code != 0)
    if condition == "full" and code:
        assert ODD in found[0] and re.search(r"File too large|No space left", found[0])
        assert not leftovers(result["new"])
    if condition in ("cache", "user", "closed") and name in COMPUTE:
        warnings = [line for line in result["err"].splitlines() if line.startswith("warning: ")]
        assert len(warnings) == (condition != "closed"), result["err"]
        assert all("FACEJAX_CACHE_DIR" in line for line in warnings)
    if name == "train" and code == 0:
        folder = pathlib.Path(result["new"])
        assert (folder / "finished.txt").is_file() and (folder / "checkpoints" / "1").is_dir()


def test_printed_commands_can_be_pasted(results):
    result = results[FIRST]
    assert result["code"] == 0, result["err"]
    commands = [shlex.split(t) for t in re.findall(r"facejax .*", result["out"])]
    assert len(commands) == 2
    assert all(f"--workdir={result['new']}" in words for words in commands)
