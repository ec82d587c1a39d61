"""Times the rasteriser and the renderer on spheres; a table with ratios to a numpy z-buffer.

    python -m tests.benchmarks.bench_render --sizes 128 256 --triangles 5000 20000

The numpy z-buffer is the obvious one, a loop over triangles with float64 bounding boxes.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera, to_clip
from facejax.geometry.mesh import Mesh
from facejax.render import rasterize, render
from tests.oracles import meshes


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


def milliseconds(fn, repeats):
    """Median wall time; the first call compiles and is not counted."""
    jax.block_until_ready(fn())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn())
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def measure(num_triangles, size, repeats):
    """(triangles, times in ms by name) of a sphere that nearly fills the image."""
    rows = max(3, int((num_triangles / 4) ** 0.5) + 1)
    vertices, topology = meshes.sphere(rows, 2 * rows)
    mesh = Mesh(jnp.asarray(130 * vertices), topology, vertex_colors=jnp.abs(vertices))
    camera, size = Camera.look_at(), (size, size)
    clip = to_clip(camera, mesh.vertices, size)

    @jax.jit
    def gradient(vertices):
        def loss(v):
            return jnp.sum(render(mesh.replace(vertices=v), camera, None, size).image)

        return jax.grad(loss)(vertices)

    batch = jnp.stack([clip] * 8)
    return len(topology.triangles), {
        "numpy": milliseconds(
            lambda: numpy_zbuffer(np.asarray(clip, np.float64), topology.triangles, *size), 1
        ),
        "rasterize": milliseconds(lambda: rasterize(clip, topology, size), repeats),
        "batch/8": milliseconds(lambda: rasterize(batch, topology, size), repeats) / 8,
        "render": milliseconds(lambda: render(mesh, camera, None, size), repeats),
        "gradient": milliseconds(lambda: gradient(mesh.vertices), repeats),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--triangles", type=int, nargs="+", default=[5000, 30000])
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    print(f"{jax.devices()[0]}; milliseconds, in brackets how many times faster than numpy")
    for num in args.triangles:
        for size in args.sizes:
            count, times = measure(num, size, args.repeats)
            cells = [f"{k} {v:.1f} ({times['numpy'] / v:.0f}x)" for k, v in times.items()]
            print(f"{count:>7} triangles {size:>5} px | " + " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
