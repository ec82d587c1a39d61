"""The main job with bad input: one clear message, exit code 2, and nothing written is lost."""

import json
import pathlib
import re

import numpy as np
import pytest

from facejax.commands import train
from facejax.data.packed import write_packed
from facejax.data.uvmaps import UVCodec
from facejax.io.tfrecord_images import write_multiresolution

CONFIG = str(pathlib.Path(__file__).resolve().parents[2] / "configs/tbgan.py")


@pytest.fixture
def folders(tmp_path):
    """Data sets that are wrong in one way each."""
    maps = np.zeros((4, 16, 16, 9), np.float32)
    labels = np.zeros((4, 7), np.float32)
    for name, width in (("good", 9), ("narrow", 6)):
        modalities = (("texture", 3), ("shape", 3), ("normals", 3))[: width // 3]
        write_packed(
            tmp_path / name,
            [{"maps": maps[..., :width], "labels": labels}],
            num_examples=4,
            resolution=16,
            codec=UVCodec(encoding="absolute", modalities=modalities),
            label_names=[f"l{k}" for k in range(7)],
        )
    array = tmp_path / "good" / "r04.npy"
    array.write_bytes(array.read_bytes()[:-100])
    (tmp_path / "good").rename(tmp_path / "cut")
    (tmp_path / "empty").mkdir()
    write_multiresolution(tmp_path / "records", maps, labels)
    record = next((tmp_path / "records").glob("*-r04.tfrecords"))
    record.write_bytes(record.read_bytes()[:-7])
    (tmp_path / "photo.npz").write_bytes(b"\x89PNG\r\n not a model")
    return tmp_path


CASES = {
    "unknown preset": (["--config={config}:smoek"], "Did you mean .*smoke"),
    "unknown key": (["--config.schedule.total_kimgs=3"], "config.schedule.total_kimg"),
    "wrong type": (["--config.schedule.total_kimg=many"], "total_kimg"),
    "missing config": (["--config=configs/tbgam.py"], "no such file"),
    "missing model": (
        ["--config.data.model=ict", "--config.data.model_path={dir}/none.npz"],
        "none.npz",
    ),
    "file of another kind": (
        ["--config.data.model=ict", "--config.data.model_path={dir}/photo.npz"],
        "photo.npz",
    ),
    "cut array": (
        ["--config.data.source=packed", "--config.data.path={dir}/cut"],
        "r04.npy is damaged: found .* bytes, wanted",
    ),
    "cut record": (
        ["--config.data.source=tfrecords", "--config.data.path={dir}/records"],
        r"r04.tfrecords.*byte",
    ),
    "channels": (
        ["--config.data.source=packed", "--config.data.path={dir}/narrow"],
        "6 channels, but the modalities",
    ),
    "empty folder": (
        ["--config.data.source=packed", "--config.data.path={dir}/empty"],
        "empty",
    ),
    "resolution": (["--config.model.resolution=24"], "power of two.*24"),
    "devices": (["--config.schedule.minibatch_base=2"], "multiple of 16"),
    "stddev groups": (["--config.schedule.minibatch_base=18"], "model.mbstd_group"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_message_and_exit_code_2(case, folders, capsys):
    arguments, message = CASES[case]
    arguments = [a.format(config=CONFIG, dir=folders) for a in arguments]
    if not any(a.startswith("--config=") for a in arguments):
        arguments.insert(0, f"--config={CONFIG}:smoke")
    workdir = folders / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    code = train.main([*arguments, f"--workdir={workdir}", "--nocompile_cache"])
    error = capsys.readouterr().err
    assert code == 2, error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert (workdir / "metrics.jsonl").exists()
