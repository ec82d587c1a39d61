"""Thousands of damaged files: every reader refuses them by name, or reads what is right.

FACEJAX_SLOW=1 python -m pytest tests/fuzz      ten times as many
python -m tests.fuzz.worker OUT.jsonl 1 run      one reader; FUZZ_KEEP=FOLDER keeps what fails
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from facejax.readers import READERS
from tests.fuzz.mutations import FOREIGN, mutate
from tests.fuzz.readers import CASES

pytest.importorskip("resource")  # limits of memory
ROOT = pathlib.Path(__file__).resolve().parents[2]
FACTOR = 10 if os.environ.get("FACEJAX_SLOW") else 1


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """{reader: [(what was done to which file, problem or '')]}; a crash is a problem too."""
    folder = tmp_path_factory.mktemp("fuzz")
    found, left = {key: [] for key in CASES}, list(CASES)
    while left:
        out = folder / f"{len(left)}.jsonl"
        command = [sys.executable, "-m", "tests.fuzz.worker", str(out), str(FACTOR), *left]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        begun, finished = None, []
        for line in out.read_text().splitlines() if out.exists() else ():
            record = json.loads(line)
            if "begin" in record:
                begun = record
            elif "end" in record:
                words = f"number {begun['number']}, {begun['what']} in {begun['file']}"
                found[record["end"]].append((words, record["problem"]))
                begun = None
            else:
                finished.append(record["done"])
        if begun is not None:
            words = f"number {begun['number']}, {begun['what']} in {begun['file']}"
            found[begun["begin"]].append((words, f"crash, exit code {done.returncode}"))
            finished.append(begun["begin"])
        assert finished, f"the worker did not start: {done.stderr[-2000:]}"
        left = [key for key in left if key not in finished]
    return found


@pytest.mark.parametrize("key", CASES)
def test_damaged_files_are_refused_by_name_or_read_right(outcomes, key):
    problems = [f"{words}: {problem}" for words, problem in outcomes[key] if problem]
    assert outcomes[key]
    assert not problems, f"{len(problems)} of {len(outcomes[key])}: " + "\n".join(problems[:8])


def test_there_are_thousands(outcomes):
    assert sum(map(len, outcomes.values())) >= 2000 * FACTOR


def test_every_reader_of_the_package_is_tried():
    tried = {key.split()[0] for key in CASES}
    assert set(READERS) - {"procedural", "makehuman"} <= tried  # these need no file


def test_damage_is_the_same_each_time_and_of_every_kind():
    import random

    data = b'{"shape": [3, 4], "name": "x"}\n'
    twice = [[mutate(data, random.Random(f"{k}")) for k in range(400)] for _ in range(2)]
    assert twice[0] == twice[1]
    kinds = {name for name, _ in twice[0]}
    assert {"truncate", "flip", "swap", "huge_digits", "huge_integer", "json_value"} <= kinds
    assert {"empty", "zip bomb", "pickle", "huge array", "utf-16"} <= set(FOREIGN)
