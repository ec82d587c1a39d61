"""Speed of TBGAN's training step, as a table with ratios to a named reference of the same run.

python -m tests.benchmarks.bench_tbgan [--steps 10] [--rounds 3]

The first case is a D+G step with WGAN-GP at 64 pixels, batch 8, 128 feature maps, RGB; the others
are the stages of the default run. The reference is this machine's rate of a large float32 matrix
product: the last column is the share of it that the step reaches, counting its operations
as XLA does.
"""

import argparse
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from facejax.systems.tbgan.losses import LossConfig, discriminator_loss, generator_loss
from facejax.systems.tbgan.networks import (
    NetworkConfig,
    init_discriminator,
    init_generator,
    network_config,
)
from facejax.train.config import load_config
from facejax.train.optim import adam

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs/tbgan.py"


def make_step(net: NetworkConfig, cfg: LossConfig, stage: int, batch: int):
    """(compiled step, its state and inputs, seconds of compilation)."""
    tx = adam(0.0, 0.99, 1e-8)
    gen, disc = init_generator(net, 0), init_discriminator(net, 1)
    static = dict(stage=stage, net=net, cfg=cfg)
    rng = np.random.default_rng(0)
    reals = rng.standard_normal((batch, 2**stage, 2**stage, net.num_channels)).astype(np.float32)
    z = rng.standard_normal((batch, net.latents)).astype(np.float32)
    y = np.full((batch, net.label_size), 1 / max(net.label_size, 1), np.float32)
    mix = rng.uniform(size=batch).astype(np.float32)

    def step(gen, disc, opt_g, opt_d, reals, z, y, mix, alpha):
        (_, _), g = jax.value_and_grad(discriminator_loss, has_aux=True)(
            disc, gen, reals, z, y, mix, alpha, **static
        )
        u, opt_d = tx.update(g, opt_d)
        disc = jax.tree.map(lambda p, u: p - 1e-3 * u, disc, u)
        (_, _), g = jax.value_and_grad(generator_loss, has_aux=True)(
            gen, disc, z, y, alpha, **static
        )
        u, opt_g = tx.update(g, opt_g)
        gen = jax.tree.map(lambda p, u: p - 1e-3 * u, gen, u)
        return gen, disc, opt_g, opt_d

    state = jax.tree.map(jnp.asarray, (gen, disc, tx.init(gen), tx.init(disc)))
    inputs = (reals, z, y, mix, np.float32(0.3))
    started = time.perf_counter()
    compiled = jax.jit(step).lower(*state, *inputs).compile()
    return compiled, state, inputs, time.perf_counter() - started


def seconds(compiled, state, inputs, steps: int) -> float:
    """Per step."""
    started = time.perf_counter()
    for _ in range(steps):
        state = compiled(*state, *inputs)
    jax.block_until_ready(state)
    return (time.perf_counter() - started) / steps


def matmul_rate(size: int = 1536, repetitions: int = 5) -> float:
    """Floating point operations per second of a square float32 matrix product."""
    product = jax.jit(jnp.matmul)
    a = jnp.ones((size, size), jnp.float32)
    product(a, a).block_until_ready()
    started = time.perf_counter()
    for _ in range(repetitions):
        a = product(a, a) / size
    a.block_until_ready()
    return repetitions * 2 * size**3 / (time.perf_counter() - started)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10, help="per round (10)")
    parser.add_argument("--rounds", type=int, default=3, help="step and matrix product in turn (3)")
    args = parser.parse_args()
    rgb = NetworkConfig(
        resolution=64, modalities=(("rgb", 3),), label_size=0, lod_sep=9,
        fmap_base=1024, fmap_max=128,
    )  # fmt: skip
    config = load_config(str(CONFIG))
    default, loss = network_config(config.model), LossConfig(**config.loss)
    cases = [("RGB 64 px, fmap 128, batch 8", rgb, LossConfig(), 6, 8)]
    for r in range(3, default.resolution_log2 + 1):
        batch = config.schedule.minibatch_base
        cases.append((f"default {2**r} px, batch {batch}", default, loss, r, batch))
    names = f"{'case':32} {'ms/step':>8} {'images/s':>9} {'GFLOP/step':>10} {'compile s':>9}"
    print(names + f" {'step/matmul rate':>17}")
    for name, net, cfg, stage, batch in cases:
        *step, compile_s = make_step(net, cfg, stage, batch)
        flops = step[0].cost_analysis()["flops"]
        seconds(*step, 1)
        pairs = [(seconds(*step, args.steps), matmul_rate()) for _ in range(args.rounds)]
        best = statistics.median(a for a, _ in pairs)
        share = statistics.median(flops / a / rate for a, rate in pairs)
        print(
            f"{name:32} {1e3 * best:8.1f} {batch / best:9.1f} {1e-9 * flops:10.2f} {compile_s:9.1f}"
            f" {share:17.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
