"""Times the rasteriser and its gradient; a table with ratios to a numpy z-buffer and to peers.

One row per mesh and size: process milliseconds of the forward pass, of forward and backward, and
of a batch of 32 images per image (224 pixels only), seconds to compile, megabytes of temporaries.

    NPROC=1 python -m tests.benchmarks.bench_render --sizes 224 512 --triangles 20000
    NPROC=1 python -m tests.benchmarks.bench_render --mesh head.npz    # verts [V, 3], tri [F, 3]

Forward is ids, barycentrics and depth; backward goes through interpolation of six columns and
`boundary_grad` to positions and columns. The numpy z-buffer is the obvious one, a loop over
triangles with float64 bounding boxes. Peers are timed where they can be imported: pytorch3d (CPU,
one face per pixel) and nvdiffrast (needs a GPU). Two more can be given:

    --library PATH      a shared library that exports the C function
        void rasterize(const float* clip, const int* tri, int num_vertices, int num_triangles,
                       int width, int height, int* ids, float* bary, float* depth);
        clip [V, 4], tri [F, 3], ids [H, W], bary [H, W, 3], depth [H, W], all allocated here;
    --reference FILE    a Python file with topology(tri), rasterize(clip, topology, H, W) and
        barycentrics(clip, topology, ids) -> (three planes, depth), timed compiled, and its compile
        time compared; with interpolate(columns [C, V], topology, ids, planes) and
        boundary_grad(image, clip, topology, ids, planes, depth) its backward pass too.

Repetitions of all competitors are interleaved; NPROC=1 keeps XLA to one thread. Process time, not
wall time: other work on the machine disturbs it less.
"""

import argparse
import ctypes
import importlib.util
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera, to_clip
from facejax.geometry.mesh import MeshTopology
from facejax.render import boundary_grad, interpolate, rasterize
from tests.oracles import meshes

_COLUMNS = 6
_BATCH, _BATCH_SIZE = 32, 224


def numpy_zbuffer(clip, triangles, height, width):
    """Ids [H, W] of a loop over triangles; row 0 is the top."""
    xy = (clip[:, :2] / clip[:, 3:] * [1, -1] + 1) * [width / 2, height / 2] - 0.5
    z = clip[:, 2] / clip[:, 3]
    depth, ids = np.full((height, width), np.inf), np.full((height, width), -1)
    for i, t in enumerate(triangles):
        (ax, ay), (bx, by), (cx, cy) = corner = xy[t]
        x0, y0 = np.maximum(np.ceil(corner.min(axis=0)).astype(int), 0)
        x1, y1 = np.minimum(np.floor(corner.max(axis=0)).astype(int) + 1, [width, height])
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if x1 <= x0 or y1 <= y0 or area == 0:
            continue
        x, y = np.arange(x0, x1)[None], np.arange(y0, y1)[:, None]
        a = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        b = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        c = 1 - a - b
        d = a * z[t[0]] + b * z[t[1]] + c * z[t[2]]
        box = slice(y0, y1), slice(x0, x1)
        hit = (a >= 0) & (b >= 0) & (c >= 0) & (d <= depth[box])
        depth[box][hit], ids[box][hit] = d[hit], i
    return ids


def milliseconds(functions, repeats):
    """Median process time by name, measured in turns; they have all been called once before."""
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, fn in functions.items():
            start = time.process_time()
            fn()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(t)) for name, t in times.items()}


def compiled(fn, *args):
    """(callable that waits for the result, seconds to compile, megabytes of temporaries)."""
    start = time.process_time()
    program = jax.jit(fn).lower(*args).compile()
    seconds = time.process_time() - start
    memory = program.memory_analysis()
    megabytes = memory.temp_size_in_bytes / 2**20 if memory else float("nan")
    jax.block_until_ready(program(*args))
    return lambda: jax.block_until_ready(program(*args)), seconds, megabytes


def peers(clip, triangles, size):
    """Name -> forward pass of every other rasteriser that is installed and can run here."""
    found = {}
    if importlib.util.find_spec("pytorch3d"):
        found["pytorch3d"] = _pytorch3d(clip, triangles, size)
    if importlib.util.find_spec("nvdiffrast"):
        import torch

        if torch.cuda.is_available():
            found["nvdiffrast"] = _nvdiffrast(clip, triangles, size)
    return found


def _pytorch3d(clip, triangles, size):
    import torch
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    ndc = clip[:, :3] / clip[:, 3:]
    ndc = np.concatenate([-ndc[:, :1], ndc[:, 1:2], clip[:, 3:]], axis=1)  # x left, view depth
    mesh = Meshes([torch.tensor(ndc)], [torch.tensor(triangles, dtype=torch.int64)])
    return lambda: rasterize_meshes(mesh, size, blur_radius=0.0, faces_per_pixel=1, bin_size=0)


def _nvdiffrast(clip, triangles, size):
    import nvdiffrast.torch as dr
    import torch

    context = dr.RasterizeCudaContext()
    position = torch.tensor(clip, device="cuda")[None]
    faces = torch.tensor(triangles, dtype=torch.int32, device="cuda")

    def forward():
        dr.rasterize(context, position, faces, size)
        torch.cuda.synchronize()

    return forward


def library_forward(path, clip, triangles, size):
    """The C function of `--library` on fixed buffers."""
    function = ctypes.CDLL(str(path.resolve())).rasterize
    function.restype = None
    clip = np.ascontiguousarray(clip, np.float32)
    triangles = np.ascontiguousarray(triangles, np.int32)
    outputs = (
        np.zeros(size, np.int32),
        np.zeros((*size, 3), np.float32),
        np.ones(size, np.float32),
    )
    numbers = [ctypes.c_int(n) for n in (len(clip), len(triangles), size[1], size[0])]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (clip, triangles, *outputs)]

    def forward():
        function(*pointers[:2], *numbers, *pointers[2:])
        return outputs  # also keeps the buffers alive

    return forward


def reference_passes(path, clip, columns, triangles, size):
    """Compiled (forward, forward and backward or None) of the module of `--reference`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    topology = module.topology(triangles)

    def forward(clip):
        ids = module.rasterize(clip, topology, *size)
        return ids, module.barycentrics(clip, topology, ids)

    def loss(clip, columns):
        ids, (bary, depth) = forward(clip)
        image = module.interpolate(columns, topology, ids, bary)
        fixed = jax.lax.stop_gradient((bary, depth))
        return jnp.mean(module.boundary_grad(image, clip, topology, ids, *fixed) ** 2)

    both = None
    if hasattr(module, "boundary_grad"):
        both = compiled(jax.value_and_grad(loss, argnums=(0, 1)), clip, columns.T)
    return compiled(forward, clip), both


def load_mesh(source):
    """Name, vertices [V, 3] that nearly fill the picture, topology; of a file or a sphere."""
    if isinstance(source, int):
        rows = max(3, int((source / 4) ** 0.5) + 1)
        vertices, topology = meshes.sphere(rows, 2 * rows)
        return "sphere", 130 * vertices, topology
    with np.load(source) as arrays:
        vertices, triangles = arrays["verts"].astype(np.float64), arrays["tri"]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = (vertices - 0.5 * (low + high)) * (260 / (high - low)[:2].max())
    return source.stem, vertices.astype(np.float32), MeshTopology(triangles, len(vertices))


def measure(source, size, args):
    """Prints one row."""
    name, vertices, topology = load_mesh(source)
    size = (size, size)
    clip = to_clip(Camera.look_at(), jnp.asarray(vertices), size)
    columns = jnp.asarray(np.random.default_rng(0).uniform(size=(len(vertices), _COLUMNS)))

    def rasterized(clip):
        return rasterize(clip, topology, size)

    def loss(clip, columns):
        fragments = rasterized(clip)
        image = interpolate(columns, topology, fragments)
        return jnp.mean(boundary_grad(image, clip, topology, fragments) ** 2)

    forward, forward_seconds, _ = compiled(rasterized, clip)
    both, both_seconds, megabytes = compiled(
        jax.value_and_grad(loss, argnums=(0, 1)), clip, columns
    )
    flat = np.asarray(clip)
    others = peers(flat, topology.triangles, size)
    if args.library:
        others[args.library.stem] = library_forward(args.library, flat, topology.triangles, size)
    notes = []
    if args.reference:
        name_of = args.reference.stem
        passes = reference_passes(args.reference, clip, columns, topology.triangles, size)
        others[name_of] = passes[0][0]
        notes.append(f"forward compiles in {forward_seconds / passes[0][1]:.2f} of its time")
        if passes[1]:
            notes.append(f"f+b in {both_seconds / passes[1][1]:.2f}, {passes[1][2]:.1f} MB")
    for fn in others.values():
        fn()
    # In turns of their own: after large temporaries the next program pays for the page faults.
    times = milliseconds({"forward": forward, **others}, args.repeats)
    turns = {"both": both}
    if args.reference and passes[1]:
        turns["reference both"] = passes[1][0]
    times |= milliseconds(turns, args.repeats)
    if "reference both" in times:
        ratio = times["reference both"] / times["both"]
        notes.append(f"its f+b {times['reference both']:.4g} ms = {ratio:.3g}x of ours")
    if size[0] == _BATCH_SIZE:
        poses = clip * jnp.linspace(1.0, 0.9, _BATCH)[:, None, None] ** jnp.array([1, 1, 0, 0])
        batch = compiled(rasterized, poses)[0]
        turns = {"batch": batch, "singles": lambda: [forward() for _ in range(_BATCH)]}
        turns = milliseconds(turns, max(3, args.repeats // 3))
        notes.append(
            f"batch of {_BATCH}: {turns['batch'] / turns['singles']:.2f} of as many singles"
        )
    double = flat.astype(np.float64)
    times |= milliseconds(
        {"numpy": lambda: numpy_zbuffer(double, topology.triangles, *size)}, repeats=1
    )
    ratios = [f"{k} {times[k]:.4g} ms = {times[k] / times['forward']:.3g}x" for k in
              ("numpy", *others)]  # fmt: skip
    print(
        f"{name:<16} {len(topology.triangles):>9} {size[0]:>5} {times['forward']:>9.2f} "
        f"{times['both']:>9.2f} {forward_seconds:>8.1f} {both_seconds:>8.1f} {megabytes:>8.1f}   "
        + "; ".join(ratios + notes),
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512, 1024])
    parser.add_argument(
        "--triangles", type=int, nargs="+", default=[5000, 70000], help="of spheres"
    )
    parser.add_argument("--mesh", type=pathlib.Path, nargs="*", default=[], help="instead, .npz")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--library", type=pathlib.Path, help="shared library to compare with")
    parser.add_argument("--reference", type=pathlib.Path, help="Python rasteriser to compare with")
    args = parser.parse_args()
    print(f"{jax.devices()[0]}; process milliseconds; ratios: how many times longer than forward")
    print(
        f"{'mesh':<16} {'triangles':>9} {'size':>5} {'forward':>9} {'f+b':>9} {'comp f s':>8} "
        f"{'c f+b s':>8} {'temp MB':>8}   ratios"
    )
    for source in args.mesh or args.triangles:
        for size in args.sizes:
            measure(source, size, args)


if __name__ == "__main__":
    main()
