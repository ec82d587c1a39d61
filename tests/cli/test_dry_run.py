"""--dry_run of every preset of every configuration: no device is touched, memory is estimated.

Published presets that want files get made-up ones. Every network is traced, which takes minutes for
the published ones: all but the smallest presets run with FACEJAX_SLOW=1 only.
"""

import json
import os
import pathlib
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest

from tests.oracles.mat_files import write_parameters
from tests.oracles.published_data import write_face_and_photo

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = ("smoke",) if not os.environ.get("FACEJAX_SLOW") else None
PRESETS = {
    path.stem: [p for p in runpy.run_path(str(path))["PRESETS"] if not QUICK or p in QUICK]
    for path in sorted(ROOT.glob("configs/*.py"))
}


def _files(folder: pathlib.Path) -> dict[str, str]:
    """{system: flags} of the presets that train on files."""
    rng = np.random.default_rng(0)
    (folder / "mat").mkdir()
    for k in range(4):
        write_parameters(folder / f"mat/{k}.mat", rng)
    model, photos = write_face_and_photo(folder / "published")
    return {
        "manifold": f"--config.data.path={folder / 'mat'} --config.data.num_test=1",
        "deep3d": f"--config.data.path={photos} --config.data.model_path={model}",
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{(system, preset): result}; two processes that take equally long."""
    folder = tmp_path_factory.mktemp("files")
    flags, out = _files(folder), {}
    halves: dict[bool, dict] = {True: {}, False: {}}
    for name, presets in PRESETS.items():
        for preset in presets:
            published = preset not in ("default", "smoke")
            more = flags.get(name, "") if published else ""
            line = f"--config={ROOT}/configs/{name}.py:{preset} --workdir={folder / 'run'} {more}"
            halves[published and name == "deep3d"][name, preset] = line
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.cli.dry_runs", *half.values()], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for half in halves.values()
        if half
    ]  # fmt: skip
    for half, process in zip(filter(None, halves.values()), running, strict=True):
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        results = [json.loads(line) for line in printed.splitlines()]
        assert len(results) == len(half), errors
        out |= dict(zip(half, results, strict=True))
    assert not (folder / "run").exists()
    return out


@pytest.mark.parametrize(
    "name, preset", [(name, preset) for name, presets in PRESETS.items() for preset in presets]
)
def test_a_dry_run(found, name, preset):
    result = found[name, preset]
    assert result["code"] == 0 and not result["initialised"]
    text = result["text"]
    table = text.split("memory of a step, estimated, on one device:\n")[1]
    header, *rows = [line.split("  ") for line in table.split("\nparameters:")[0].splitlines()]
    assert [column.strip() for column in header if column.strip()] == ["stage", "memory_mib"]
    memory = {" ".join(row[:-1]).strip(): int(row[-1].replace(",", "")) for row in rows}
    assert list(memory) == result["stages"] and all(0 < mib < 80 * 1024 for mib in memory.values())
    counts = re.search(r"^parameters: (.*)$", text, re.MULTILINE)[1]
    assert all(int(part.replace(",", "")) > 0 for part in re.findall(r" ([\d,]+)(?:, |$)", counts))
    assert text.endswith("dry run: nothing was started\n")


def test_sizes_of_published_networks(found):
    """Counted in the originals' checkpoints."""
    for preset, count in (
        (("tbgan", "paper"), "gen 206,959,464, disc 204,161,384"),
        (("deep3d", "paper-tf"), "24,034,625"),
        (("deep3d", "gcn"), "graph 17,249,140"),
    ):
        if preset in found:
            assert count in found[preset]["text"].split("parameters: ")[1]


@pytest.mark.skipif(QUICK is not None, reason="FACEJAX_SLOW=1 traces every preset")
def test_presets_differ_in_memory(found):
    def rows(*key):
        return found[key]["text"].split("memory of a step")[1].split("parameters")[0]

    assert rows("deep3d", "smoke") != rows("deep3d", "default")
    assert rows("tbgan", "smoke") != rows("tbgan", "paper")
