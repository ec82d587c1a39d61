"""The data set generator: where the time of a face goes, a whole run, and a probe of its labels.

    python -m tests.benchmarks.bench_dataset split            # processor milliseconds per face
    python -m tests.benchmarks.bench_dataset run --num 1000   # faces per second, peak memory
    python -m tests.benchmarks.bench_dataset probe            # yaw from 16 x 16 grey pixels

Processor time, so that a busy machine disturbs little. The probe is ridge regression on images of
64 pixels, trained on faces 0 .. num - 1 and tested on 500 others.
"""

import argparse
import os
import pathlib
import resource
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera, to_clip
from facejax.image.color import srgb_to_linear
from facejax.morphable import decode_shape, decode_texture, load_morphable
from facejax.pipelines.dataset import FaceMaker, Options, write_dataset
from facejax.pipelines.dataset.containers import Clock, FolderContainer
from facejax.pipelines.dataset.outputs import npz_bytes, png_bytes, split_face
from facejax.render.rasterize import rasterize


def processor_ms(function, repeats=20):
    """Least processor time of a call, which has been made once before."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(1e3 * (time.process_time() - start))
    return min(times)


def split(args):
    """Decoding, rasterising, shading and the rest, encoding, disk; one face, one device."""
    model = load_morphable("procedural")
    maker = FaceMaker(model, Options(size=args.size), devices=jax.devices()[:1])
    drawn = [maker.draw(0)]
    (face,) = maker([0])
    side = 2 * args.size + 1

    @jax.jit
    def decode(model, id_, exp, alb):
        texture = srgb_to_linear(jnp.clip(decode_texture(model, alb), 0, 1))
        return decode_shape(model, id_, exp), texture

    @jax.jit
    def raster(vertices):
        clip = to_clip(Camera.look_at(), vertices, (side, side))
        return rasterize(clip, model.topology.mesh, (side, side))

    coefficients = [jnp.asarray(face[k]) for k in ("id", "exp", "alb")]
    vertices, _ = decode(model, *coefficients)
    times = {
        "draw": processor_ms(lambda: maker.draw(0)),
        "decode": processor_ms(lambda: jax.block_until_ready(decode(model, *coefficients))),
        "raster": processor_ms(lambda: jax.block_until_ready(raster(vertices))),
    }
    whole = processor_ms(lambda: jax.block_until_ready(maker.render(drawn)))
    times["shading and the rest"] = whole - times["decode"] - times["raster"]
    images, maps, labels = split_face(face)

    def encode():
        return [*map(png_bytes, images.values()), npz_bytes(maps, True), npz_bytes(labels, False)]

    times["encode"] = processor_ms(encode)
    with tempfile.TemporaryDirectory() as folder:
        sink = FolderContainer(pathlib.Path(folder), 1, Clock())
        times["disk"] = processor_ms(lambda: sink.write(0, face)) - times["encode"]
    total = sum(times.values())
    for name, value in times.items():
        print(f"{name:<24}{value:>8.1f} ms {100 * value / total:>5.0f} %")
    print(f"{'together':<24}{total:>8.1f} ms, {1e3 / total:.1f} faces/s per processor")


def run(args):
    """Faces per second of a whole run, compiling apart, and the peak memory of the process."""
    maker = FaceMaker(load_morphable("procedural"), Options(size=args.size))
    before, begin = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        summary = write_dataset(maker, folder, args.num, container=args.container)
    wall = time.perf_counter() - begin
    making = summary.seconds["total"] - summary.seconds["compile"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print({k: round(v, 1) for k, v in summary.seconds.items()})
    print(
        f"{args.num} faces, {args.size} px, {args.container}, {maker.render.num_devices} devices, "
        f"{os.cpu_count()} processors: {args.num / making:.1f} faces/s; all in all {wall:.0f} s, "
        f"{time.process_time() - before:.0f} s of processors; peak memory {peak:.0f} MB"
    )


def probe(args):
    """Error of yaw, degrees."""
    options = Options(size=64, background="gradient")
    maker = FaceMaker(load_morphable("procedural"), options)
    pixels, yaw, total = [], [], args.num + 500
    for i in range(0, total, 64):
        for face in maker(range(i, i + 64)):
            grey = face["image"].mean(axis=-1) / 255
            pixels.append(grey.reshape(16, 4, 16, 4).mean(axis=(1, 3)).reshape(-1))
            yaw.append(np.degrees(face["yaw_rad"]))
    x, y = np.stack(pixels[:total]), np.stack(yaw[:total])
    mean, middle = x[: args.num].mean(axis=0), y[: args.num].mean()
    a, b = x[: args.num] - mean, y[: args.num] - middle
    weights = np.linalg.solve(a.T @ a + 3.0 * np.eye(a.shape[1]), a.T @ b)
    error = (x[args.num :] - mean) @ weights + middle - y[args.num :]
    spread = y[args.num :] - middle
    print(
        f"yaw in +-{options.yaw_deg:.0f} degrees from {args.num} images: mean error "
        f"{np.abs(error).mean():.1f} degrees (constant guess {np.abs(spread).mean():.1f}), "
        f"R2 {1 - (error**2).mean() / (spread**2).mean():.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("split", "run", "probe"))
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--container", default="folder")
    args = parser.parse_args()
    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", os.cpu_count())
    {"split": split, "run": run, "probe": probe}[args.what](args)


if __name__ == "__main__":
    main()
