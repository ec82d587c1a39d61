"""Seconds and memory of one Deep3D training step, and where the time goes.

python -m tests.benchmarks.bench_deep3d [--steps 3] [--batch 4] [--size 224] [--rows 190]

The published sizes: crops of 224 pixels, batch 4, ResNet-50, a mesh of about 36,000 vertices with
80 identity and 80 albedo components, every loss, ArcFace's ResNet-50 as recogniser (random
weights).
The whole step is the trainer's; the parts are timed on their own, forward and backward: 'network'
from the image to the gradient of its parameters, 'recogniser' from a render to its gradient,
'renderer' all the rest: decoder, both rasterisations, colours and the other losses.
"""

import argparse
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from facejax.recon.decoder import decode, split
from facejax.systems.deep3d import losses
from facejax.train.config import load_config
from facejax.train.frozen import frozen_trees
from facejax.train.runs import make_system
from facejax.train.state import init_state
from facejax.train.step import traced_scalars
from tests.systems.stepping import make_step

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs/deep3d.py"


def make(batch: int, size: int, rows: int):
    """The system, its state and a batch."""
    config = load_config(f"{CONFIG}:paper-pytorch")
    config.data.update(source="synthetic", image_size=size, augment=False, num_examples=64)
    config.data.model_options.update(
        rows=rows, cols=rows, n_id=80, n_alb=80, draws=100, texture_size=32
    )
    config.schedule.batch_size = batch
    system = make_system(config)
    data = dict(system.source().batch(np.arange(batch)))
    data["index"] = np.arange(batch, dtype=np.int32)
    arguments = (init_state(system, 0), frozen_trees(system), data)
    return system, *jax.tree.map(jnp.asarray, arguments)


def seconds(function, *args, steps: int) -> tuple[float, object]:
    """(median seconds of a call after compilation, the compiled function)."""
    compiled = jax.jit(function).lower(*args).compile()
    jax.block_until_ready(compiled(*args))
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        times.append(time.perf_counter() - started)
    return float(np.median(times)), compiled


def parts(system, state, frozen, batch) -> dict:
    """{name: (function, arguments)} of what a step is made of."""
    params, stats = state.params["rnet"], state.aux["rnet_stats"]
    image, recognition = batch["image"], frozen["recognition"]

    def network(params, stats, image):
        def total(params):
            variables = {"params": params, "batch_stats": stats}
            (vector, _), _ = system.rnet.apply(variables, image, True, mutable=["batch_stats"])
            return jnp.sum(vector**2) + jnp.sum(vector)

        return jax.grad(total)(params)

    def renderer(model, vector, batch):
        def total(vector):
            coeffs = split(vector, model)
            face = decode(model, coeffs, system.camera)
            terms = losses.landmark_terms(face, batch["landmarks"], system.camera.size)
            terms |= losses.prior_terms(model, coeffs, face, system.loss)
            picture, inner = losses.render_with_inner(model, face, system.camera, system.loss)
            terms["photo"] = losses.photo_term(
                picture, batch["image"], batch["mask"], inner, system.loss
            )
            return losses.weighted_sum(terms, system.loss)

        return jax.grad(total)(vector)

    def recogniser(variables, picture, batch):
        def total(picture):
            return jnp.sum(system.recognizer(variables, picture, batch["landmarks"])[0])

        # the photo's features need no gradient
        wanted = system.recognizer(variables, batch["image"], batch["landmarks"])[0]
        return jax.grad(total)(picture), wanted

    return {
        "network": (network, (params, stats, image)),
        "renderer": (renderer, (frozen["face_model"], 0.9 * batch["coeffs"], batch)),
        "recogniser": (recogniser, (recognition, image, batch)),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("steps", 3), ("batch", 4), ("size", 224), ("rows", 190)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    system, state, frozen, batch = make(args.batch, args.size, args.rows)
    mesh = system.model.topology.mesh
    print(f"{jax.devices()[0].device_kind}, {mesh.num_vertices:,} vertices, "
          f"{len(mesh.triangles):,} triangles, batch {args.batch}, {args.size} px")  # fmt: skip
    plan = system.plan(0)
    step, scalars = make_step(system, plan.stage), traced_scalars(plan.scalars, 0)
    whole, compiled = seconds(step, state, frozen, batch, scalars, steps=args.steps)
    memory = compiled.memory_analysis()
    gib = 2.0**30
    print(f"step        {whole:8.3f} s   working memory {memory.temp_size_in_bytes / gib:.2f} GiB, "
          f"state and batch {memory.argument_size_in_bytes / gib:.2f} GiB")  # fmt: skip
    for name, (function, arguments) in parts(system, state, frozen, batch).items():
        alone, _ = seconds(function, *arguments, steps=args.steps)
        print(f"{name:11s} {alone:8.3f} s   {100 * alone / whole:5.1f} % of the step")


if __name__ == "__main__":
    main()
