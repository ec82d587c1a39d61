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
import re
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

from facejax.cli import load_config, make_system
from facejax.nn.devices import AXIS
from facejax.render import platform
from facejax.train.describe import format_table
from facejax.train.parallel import Parallel
from facejax.train.state import init_state
from facejax.train.step import active_phases, traced_scalars

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
PUBLISHED = {
    "tbgan": ("paper",),
    "deep3d": ("paper-tf", "paper-pytorch", "gcn", "texture-gcn"),
    "idnet": (),
    "manifold": ("paper_shape", "paper_expression"),
}
TARGETS = ("h100", "tpu")
PREDICT_BATCH = 16
_NEEDED = {"h100": ("jax_cuda12_plugin", "jax_plugins", "nvidia/cuda_nvcc"), "tpu": ("libtpu",)}
_PLAN_SAMPLES = 2000
_COLLECTIVES = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
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


def abstract_batch(system: Any, stage: Any, sharding: NamedSharding) -> dict[str, Any]:
    """The shapes of a batch of a stage; one example is made."""
    one = dict(system.source().batch(np.arange(1), **dict(stage.static)))
    one["index"] = np.zeros(1, np.int32)
    size = stage.batch_size
    return {
        k: jax.ShapeDtypeStruct((size, *v.shape[1:]), jnp.result_type(v), sharding=sharding)
        for k, v in one.items()
    }


def step_programs(system: Any, plan: Any, found: list) -> Iterator[Program]:
    """What the trainer compiles for a plan. The one function that knows the trainer's interface.

    Args:
      system: what is trained.
      plan: whose stage.
      found: devices.
    """
    replicated, split = shardings(found)
    active = active_phases(system.phases(plan.stage), 0)
    function = Parallel("jit", found).wrap(system, plan.stage, active, system.config.accumulate)
    arguments = (
        abstract(init_state(system, system.config.seed), replicated),
        abstract_batch(system, plan.stage, split),
        abstract(traced_scalars(plan.scalars), replicated),
    )
    yield Program(f"step {plan.stage.name} [{plan.stage.batch_size}]", function, arguments)


def _generate(system, trees):
    from facejax.systems.tbgan.system import generate

    net = system.net
    function = functools.partial(generate, net, net.resolution)
    rows = [np.zeros((PREDICT_BATCH, n), np.float32) for n in (net.latents, net.label_size)]
    yield "generate", function, (trees["gen"], *rows, np.float32(0))


def _predict(system, trees):
    size = system.camera.size
    yield "predict", system.predict, (trees, np.zeros((PREDICT_BATCH, size, size, 3), np.float32))


def _embed(system, trees):
    def embed(variables, image, landmarks):
        return system.net.apply(variables, system.crops(image, landmarks))[0]

    variables = {"params": trees["idnet"]["net"], "batch_stats": trees["idnet_stats"]}
    size = system.config.data.image_size
    image = np.zeros((PREDICT_BATCH, size, size, 3), np.float32)
    yield "embed", embed, (variables, image, np.zeros((PREDICT_BATCH, 68, 2), np.float32))


def _denoise(system, trees):
    from facejax.systems.manifold import networks

    for target, net in system.nets.items():
        rows = np.zeros((PREDICT_BATCH, net.length), np.float32)
        arguments = (trees[target], trees["scale"][target], rows, np.float32(1), np.int32(1))
        yield f"denoise {target}", functools.partial(networks.denoise, net), arguments


_PREDICTORS = {"tbgan": _generate, "deep3d": _predict, "idnet": _embed, "manifold": _denoise}


def predictor_programs(system: Any, found: list) -> Iterator[Program]:
    """How a trained system is used, on one device with PREDICT_BATCH examples.

    Args:
      system: what was trained.
      found: devices, of which the first is meant.
    """
    replicated, _ = shardings(found[:1])
    trees = init_state(system, system.config.seed).ema_params()
    for name, function, arguments in _PREDICTORS[system.config.system](system, trees):
        name = f"{name} [{PREDICT_BATCH}]"
        yield Program(name, jax.jit(function), abstract(arguments, replicated))


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


_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|called_computations|branch_computations"
    r"|true_computation|false_computation)=(\{[^}]*\}|%?[\w.\-]+)"
)


def _names(text: str) -> list[str]:
    return re.findall(r"[\w.\-]+", text)


def count_operations(text: str) -> dict[str, int]:
    """What an optimised program is made of, from its text.

    Args:
      text: `compiled.as_text()`.

    Returns:
      'kernels' (fusions), 'library calls', 'loops', 'scatters', 'sorts', 'collectives' and, of
      these, 'all-reduces in loops': those in what a loop's body calls, counted once per program.
    """
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name = header.group(1)
        elif name:
            lines.setdefault(name, []).append(line)

    def called(lines):
        return [n for line in lines for group in _CALLED.findall(line) for n in _names(group)]

    # a '-done' belongs to the '-start' that was counted
    collective = re.compile(rf" (?:{_COLLECTIVES})(?:-start)?\(")
    reduction = re.compile(r" all-reduce(?:-start)?\(")
    bodies = re.findall(r" while\(.*body=%?([\w.\-]+)", text)
    waiting, inside = list(bodies), set()
    while waiting:
        name = waiting.pop()
        if name not in inside:
            inside.add(name)
            waiting += called(lines.get(name, []))
    looped = [line for name in inside for line in lines.get(name, [])]
    return {
        "kernels": text.count(" fusion("),
        "library calls": text.count(" custom-call("),
        "loops": len(bodies),
        "scatters": text.count(" scatter("),
        "sorts": text.count(" sort("),
        "collectives": len(collective.findall(text)),
        "all-reduces in loops": sum(bool(reduction.search(line)) for line in looped),
    }


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
