"""The compilers of an H100 and of a TPU accept a step of every system, with no device there.

FACEJAX_COMPILE_SITE_GPU=DIR FACEJAX_COMPILE_SITE_TPU=DIR python -m pytest \
    tests/benchmarks/test_compile_for.py    # DIR: see compile_for.py
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.benchmarks import compile_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITES = {"h100": "FACEJAX_COMPILE_SITE_GPU", "tpu": "FACEJAX_COMPILE_SITE_TPU"}
# What XLA prints: an all-reduce that a loop's body calls, one in the body of an inner loop (an
# asynchronous pair), and one outside.
PROGRAM = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%inner (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %start = f32[8]{0} all-reduce-start(%x), replica_groups={{0,1}}, to_apply=%add
  %done = f32[8]{0} all-reduce-done(%start)
}

%called (p: f32[8]) -> f32[8] {
  ROOT %all-reduce.1 = f32[8]{0} all-reduce(%p), replica_groups={{0,1}}, to_apply=%add
}

%body.2 (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %c = f32[8]{0} call(%y), to_apply=%called
  %w = (s32[], f32[8]{0}) while(%t), condition=%less, body=%inner, backend_config={"n":"3"}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %k = f32[8]{0} fusion(%p), kind=kLoop, calls=%add
  %g = f32[8]{0} custom-call(%k), custom_call_target="__cublas$gemm"
  %s = f32[8]{0} scatter(%g, %i, %u), to_apply=%add
  %v = (s32[], f32[8]{0}) while(%t), condition=%less, body=%body.2
  %all-gather = f32[16]{0} all-gather(%k), dimensions={0}
  ROOT %r = f32[8]{0} all-reduce(%k), to_apply=%add
}
"""


def test_operations_are_counted():
    assert compile_for.count_operations(PROGRAM) == {
        "kernels": 1,
        "library calls": 1,
        "loops": 2,
        "scatters": 1,
        "sorts": 0,
        "collectives": 4,
        "all-reduces in loops": 2,
    }


def test_a_folder_without_the_packages_is_named(tmp_path):
    assert "libtpu" in compile_for.missing("tpu", str(tmp_path))
    with pytest.raises(ValueError, match="jax_cuda12_plugin"):
        compile_for.environment("h100", str(tmp_path))
    with pytest.raises(ValueError, match="h100, tpu"):
        compile_for.environment("a100", str(tmp_path))
    with pytest.raises(ValueError, match="environment"):
        compile_for.devices("tpu", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(compile_for.PUBLISHED))
@pytest.mark.parametrize("target", compile_for.TARGETS)
def test_smoke_sized_programs_compile(target, name, tmp_path):
    site = os.environ.get(SITES[target])
    if problem := compile_for.missing(target, site):
        pytest.skip(f"{SITES[target]}: {problem}")
    file = tmp_path / "rows.json"
    # a process of its own: jax reads what chooses the compiler once
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.compile_for", target, f"--site={site}",
         "--system", name, "--presets=smoke", f"--json={file}"],
        cwd=ROOT, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert any(" step " in row["program"] for row in rows) and len(rows) > 1
    assert all("error" not in row and row["kernels"] for row in rows)
