"""Runs on a disk that is full at random moments: one line, and later the same end.

FACEJAX_SLOW=1 python -m pytest tests/train/test_full_disk.py      twenty moments instead of one
"""

import errno
import json
import logging
import os
import random

import jax
import numpy as np
import pytest

from facejax.io.checkpoints import CheckpointError
from facejax.train import logging as train_logging
from facejax.train.loop import train
from tests.disks import leftovers, short_files, small_disk
from tests.train.test_kill import outcome, start
from tests.train.toy import ToySystem, toy_config

MANY = 64 << 20
TIMES = 20 if os.environ.get("FACEJAX_SLOW") else 1


def _run(folder, cache, **overrides):
    process = start(folder, overrides, cache)
    output = process.communicate(timeout=120)[0]
    return process.returncode, output


def test_a_disk_that_is_full_at_random_moments(tmp_path):
    overrides = dict(log_every=1, checkpoint_kimg=0.032)
    with small_disk(tmp_path / "disk", MANY) as disk:
        folder = disk.path / "run"
        assert _run(folder, tmp_path / "cache", **overrides)[0] == 0
        used, wanted = disk.used(), outcome(folder)
    rng = random.Random(TIMES)
    for k in range(TIMES):
        size = int(rng.uniform(0.05, 0.95) * used)
        with small_disk(tmp_path / f"disk{k}", size) as disk:
            folder = disk.path / "run"
            code, output = _run(folder, tmp_path / "cache", **overrides)
            lines = output.strip().splitlines()
            assert code == 1 and "Traceback" not in output and len(lines) < 16, output
            assert not [line for line in lines if line.startswith(("ERROR", "WARNING"))], output
            errors = [line for line in lines if line.startswith("error: ")]
            assert len(errors) == 1 and str(folder) in errors[0], output
            assert "No space left" in errors[0] or "written whole" in errors[0], output
            disk.resize(MANY)
            code, output = _run(folder, tmp_path / "cache", **overrides)
            assert code == 0, output
            arrays, lines = outcome(folder)
            assert lines == wanted[1]
            jax.tree.map(np.testing.assert_array_equal, arrays, wanted[0])
            assert leftovers(folder) == []


def test_files_that_cannot_grow_end_a_run_with_one_error_and_it_goes_on(tmp_path):
    config = toy_config(log_every=1)
    train(ToySystem(config), config, tmp_path / "whole")
    arrays, lines = outcome(tmp_path / "whole")
    size = (tmp_path / "whole" / "metrics.jsonl").stat().st_size
    with short_files(size // 2), pytest.raises(CheckpointError) as error:
        train(ToySystem(config), config, tmp_path / "run")
    text = str(error.value)
    assert "File too large" in text and str(tmp_path / "run") in text and "\n" not in text
    assert "repeat the command to go on" in text
    train(ToySystem(config), config, tmp_path / "run")
    found = outcome(tmp_path / "run")
    assert found[1] == lines
    jax.tree.map(np.testing.assert_array_equal, found[0], arrays)
    assert leftovers(tmp_path / "run") == []


def test_a_log_that_cannot_grow_warns_once_and_the_work_goes_on(tmp_path, monkeypatch, capsys):
    logger = logging.getLogger("facejax")
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    monkeypatch.setattr(logger, "handlers", [handler])  # that of another test would print too
    with train_logging.log_file(tmp_path / "log.txt"):
        logger.warning("first")
        with short_files((tmp_path / "log.txt").stat().st_size):
            logger.warning("second")
            logger.warning("third")
    ends = f"{tmp_path / 'log.txt'} ends here: {os.strerror(errno.EFBIG)}"
    assert sorted(seen) == sorted(["first", "second", "third", ends])
    assert (tmp_path / "log.txt").read_text().count("\n") == 1
    assert capsys.readouterr().err == ""


def test_events_and_lines_are_whole_up_to_the_place_where_the_disk_was_full(tmp_path):
    from tests.train.test_logging import events

    with train_logging.RunWriter(tmp_path) as writer:
        writer.scalars(1, {"x": 1.0})
        with short_files((tmp_path / "metrics.jsonl").stat().st_size + 3):
            with pytest.raises(OSError, match="metrics.jsonl"):
                writer.scalars(2, {"x": 2.0})
    assert [v.simple_value for v in events(tmp_path)] == [1.0]
    train_logging.truncate_lines(tmp_path / "metrics.jsonl", 10)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "x": 1.0}]
