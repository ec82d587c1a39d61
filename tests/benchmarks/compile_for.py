"""Compiles the systems for an H100 or a TPU v5e on a machine that has neither.

python -m tests.benchmarks.compile_for h100 --site=DIR [--system tbgan] [--presets default,paper]
python -m tests.benchmarks.compile_for tpu --site=DIR [--devices 4] [--json FILE]

XLA's own compilers run, so that a program which an accelerator would refuse is refused here, and
what they make of it can be counted: a table of every training step and every generator or
predictor. How fast a program runs cannot be had this way. A 'paper' preset is every published one
of a system, with made-up files of the right sizes.

DIR is filled once; jax's metadata names the versions that fit:
  h100  pip install --no-deps --target DIR jax-cuda12-plugin==JAX jax-cuda12-pjrt==JAX, and all
        nvidia-*-cu12 that the plugin's metadata lists under 'with-cuda' (5 GB; none of them runs)
  tpu   pip install --no-deps --target DIR libtpu==VERSION, that of jax's extra 'tpu'
"""

import argparse
import functools
import importlib
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from facejax.nn.devices import AXIS
from facejax.render import platform
from facejax.train.config import load_config
from facejax.train.describe import format_table
from facejax.train.frozen import frozen_trees
from facejax.train.memory import abstract_state, step_arguments
from facejax.train.parallel import Parallel
from facejax.train.runs import make_system
from facejax.train.state import as_used
from tests.oracles.hlo import count_operations

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
PUBLISHED = {
    "tbgan": ("paper",),
    "deep3d": ("paper-tf", "paper-pytorch", "gcn", "texture-gcn"),
    "idnet": (),
    "manifold": ("paper_shape", "paper_expression"),
    "varitex": ("paper",),
}
TARGETS = ("h100", "tpu")
PREDICT_BATCH = 16
_NEEDED = {"h100": ("jax_cuda12_plugin", "jax_plugins", "nvidia/cuda_nvcc"), "tpu": ("libtpu",)}
_PLAN_SAMPLES = 2000
_H100 = """gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 85028765696 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class Program(NamedTuple):
    """Something to compile: `function.lower(*arguments)`, the arguments being shapes."""

    name: str
    function: Any
    arguments: tuple


def missing(target: str, site: str | None) -> str:
    """What keeps `environment` from working with this folder, '' for nothing."""
    if not site:
        return "no folder with the compiler's packages was given"
    absent = [n for n in _NEEDED[target] if not (pathlib.Path(site) / n).exists()]
    return f"{site} lacks {', '.join(absent)}" if absent else ""


def environment(target: str, site: str) -> dict[str, str]:
    """The environment that a process which calls `devices` has to start with.

    Args:
      target: 'h100' or 'tpu' (v5e).
      site: the folder with the plugin or libtpu.

    Raises:
      ValueError: another target, or a folder without the packages.
    """
    if target not in TARGETS:
        raise ValueError(f"target is {target!r}, wanted one of {', '.join(TARGETS)}")
    if problem := missing(target, site):
        raise ValueError(f"{problem}; see the text at the top of tests/benchmarks/compile_for.py")
    out, site = dict(os.environ), os.path.abspath(site)

    def prepend(name, *values):
        out[name] = os.pathsep.join([*values, *filter(None, [out.get(name)])])

    prepend("PYTHONPATH", site)  # jax looks for a plugin's linear algebra while it is imported
    out["JAX_PLATFORMS"] = "cpu"
    out["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # seconds are the compiler's
    if target == "h100":
        nvcc = os.path.join(site, "nvidia", "cuda_nvcc")
        prepend("PATH", os.path.join(nvcc, "bin"))
        prepend("LD_LIBRARY_PATH", *map(str, sorted(pathlib.Path(site).glob("nvidia/*/lib"))))
        out["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
        # There is nothing to tune on, and without tuning Triton finds no tiles for some products.
        flags = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
        flags = f"{out.get('XLA_FLAGS', '')} {flags} --xla_gpu_cuda_data_dir={nvcc}"
        out["XLA_FLAGS"] = flags.strip()
    else:
        out |= {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compilations may run side by side
        }
    return out


def devices(target: str, site: str, shape: str | None = None) -> list:
    """Devices that programs can be compiled for and nothing can be placed on.

    Computations of the process stay on the CPU.

    Args:
      target: 'h100' or 'tpu' (v5e).
      site: the folder with the plugin or libtpu.
      shape: topology; '1x1x1' or '1x1x4' for GPUs, 'v5e:2x2' for TPUs.

    Raises:
      ValueError: the process was not started with `environment`.
    """
    if os.path.abspath(site) not in sys.path:
        raise ValueError(f"start the process with environment({target!r}, {site!r})")
    jax.devices()
    if target == "h100":
        found = topologies.get_topology_desc(
            "h100", "cuda", target_config=_H100, topology=shape or "1x1x1"
        )
    else:
        found = topologies.get_topology_desc(platform="tpu", topology_name=shape or "v5e:2x2")
    return list(found.devices)


def shardings(found: list) -> tuple[NamedSharding, NamedSharding]:
    """(replicated, split along the first axis) over devices."""
    mesh = Mesh(np.array(found), (AXIS,))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))


def abstract(tree: Any, sharding: NamedSharding) -> Any:
    """The shapes of a tree of arrays, laid out over devices."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x), sharding=sharding), tree
    )


def step_programs(system: Any, plan: Any, found: list) -> Iterator[Program]:
    """What the trainer compiles for a plan, and the examples where devices make them.

    Args:
      system: what is trained.
      plan: whose stage.
      found: devices.
    """
    replicated, split = shardings(found)
    parallel, stage = Parallel(devices=found), plan.stage
    state, frozen, batch, scalars = step_arguments(system, plan, abstract_state(system))
    arguments = (
        *abstract((state, frozen), replicated),
        abstract(batch, split),
        abstract(scalars, replicated),
    )  # fmt: skip
    size = f"[{stage.batch_size}]"
    for phase in system.phases(stage):
        function = parallel.wrap(system, stage, phase.name, system.config.accumulate)
        yield Program(f"step {stage.name}/{phase.name} {size}", function, arguments)
    source, static = system.source(stage), dict(stage.static)
    if source.has_make:
        one = source.draw(np.arange(1), **static) | {"index": np.zeros(1, np.int32)}
        drawn = jax.tree.map(lambda x: np.broadcast_to(x, (stage.batch_size, *x.shape[1:])), one)
        function = parallel.wrap_examples(functools.partial(source.make, **static))
        tables = abstract(source.tables(**static), replicated)
        yield Program(f"examples {stage.name} {size}", function, (tables, abstract(drawn, split)))


def predictor_programs(system: Any, found: list) -> Iterator[Program]:
    """How a trained system is used, on one device with PREDICT_BATCH examples.

    Args:
      system: what was trained.
      found: devices, of which the first is meant.
    """
    replicated, _ = shardings(found[:1])
    state = abstract_state(system)
    trees = as_used(state.params, state.ema, state.aux, frozen_trees(system))
    arguments = (trees, *system.predict_inputs(PREDICT_BATCH))
    function = jax.jit(system.predict)
    yield Program(f"predict [{PREDICT_BATCH}]", function, abstract(arguments, replicated))


def plans(system: Any) -> list:
    """A plan of every stage of a run, in order."""
    images = np.linspace(0, max(system.total_images - 1, 0), _PLAN_SAMPLES, dtype=int)
    return list({plan.stage: plan for plan in map(system.plan, images.tolist())}.values())


def preset_system(name: str, preset: str, folder: pathlib.Path) -> Any:
    """A system of a preset; published ones get made-up files of their sizes.

    Args:
      name: of the system.
      preset: of configs/<name>.py.
      folder: for the files.
    """
    config = load_config(f"{CONFIGS / name}.py:{preset}")
    if preset in PUBLISHED[name]:
        if name == "tbgan":
            config.data.source = "black"
        elif name == "deep3d":
            from tests.oracles.published_data import write_face_and_photo

            model, photos = write_face_and_photo(folder)
            config.data.update(model_path=str(model), path=str(photos))
        else:
            from tests.oracles.mat_files import write_parameters

            rng = np.random.default_rng(0)
            for i in range(4):
                write_parameters(folder / f"{i}.mat", rng)
            config.data.update(path=str(folder), num_test=1)
    return make_system(config)


def figures(function: Any, arguments: tuple, kind: str) -> dict[str, Any]:
    """Lowers and compiles; what a table shows of the result.

    Args:
      function: has `lower`.
      arguments: shapes with shardings.
      kind: of the devices, see `platform.lower_for`.

    Returns:
      'seconds' of the compiler, 'temporaries MB', the counts of `count_operations` and 'bytes
      accessed' where the compiler tells; or 'error'.
    """
    with platform.lower_for(kind):
        lowered = function.lower(*arguments)
        started = time.perf_counter()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:  # such as a program that needs more memory
            return {"error": str(error).splitlines()[0]}
    out = {"seconds": round(time.perf_counter() - started, 1)}
    out["temporaries MB"] = round(compiled.memory_analysis().temp_size_in_bytes / 1e6, 1)
    out |= count_operations(compiled.as_text())
    if accessed := (compiled.cost_analysis() or {}).get("bytes accessed"):
        out["bytes accessed"] = float(accessed)
    return out


def programs(name: str, preset: str, found: list) -> Iterator[Program]:
    """All of a preset: every stage's step of a trained one, and how its result is used.

    Of a published run with a stage per resolution only the last is large.
    """
    with tempfile.TemporaryDirectory() as folder:
        system = preset_system(name, preset, pathlib.Path(folder))
        every = plans(system)
        for plan in every[-1:] if preset in PUBLISHED[name] else every:
            yield from step_programs(system, plan, found)
        yield from predictor_programs(system, found)


def run(
    target: str,
    found: list,
    systems: list[str],
    presets: list[str],
    report: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Rows of the table, each also handed to `report` as soon as it is there.

    Args:
      target: named in the rows.
      found: devices.
      systems: their names.
      presets: names; 'paper' stands for every published one, others are passed over by systems
        that do not have them.
      report: gets each row.
    """
    rows = []
    for name in systems:
        known = importlib.import_module(f"configs.{name}").PRESETS
        wanted = [q for p in presets for q in (PUBLISHED[name] if p == "paper" else (p,))]
        for preset in (p for p in wanted if p in known):
            for program in programs(name, preset, found):
                row = {"program": f"{name}:{preset} {program.name}"}
                row |= figures(program.function, program.arguments, found[0].platform)
                rows.append(row)
                report({"target": target, "devices": len(found), "jax": jax.__version__} | row)
    return rows


def main() -> int:
    """Prints the table; 1 where something did not compile."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--site", required=True, help="folder with the compiler's packages")
    parser.add_argument("--system", nargs="+", choices=tuple(PUBLISHED), default=tuple(PUBLISHED))
    parser.add_argument("--presets", default="default,paper", help="comma-separated")
    parser.add_argument("--devices", type=int, choices=(1, 4), default=1)
    parser.add_argument("--json", help="a line per program is appended to this file")
    args = parser.parse_args()
    if problem := missing(args.target, args.site):
        parser.error(problem)
    if os.path.abspath(args.site) not in sys.path:
        command = [sys.executable, "-m", "tests.benchmarks.compile_for", *sys.argv[1:]]
        os.execve(sys.executable, command, environment(args.target, args.site))
    shape = f"1x1x{args.devices}" if args.target == "h100" else None
    found = devices(args.target, args.site, shape)[: args.devices]

    def report(row):
        print(f"{row['program']}: {row.get('error') or row['seconds']}", file=sys.stderr)
        if args.json:
            with open(args.json, "a") as file:
                file.write(json.dumps(row) + "\n")

    rows = run(args.target, found, list(args.system), args.presets.split(","), report)
    print(f"{len(found)} x {found[0].device_kind}, jax {jax.__version__}")
    print(format_table(rows))
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
