"""How the rendering core adapts to the platform; nothing here knows about triangles.

Three facts about XLA on CPU shape the core. It recomputes cheap producers inside every gather or
scatter that consumes them, because it drops `optimization_barrier` before fusion: `pin` forces
results into memory. Batched scatters are several times slower than a loop over images:
`map_images` loops there and vectorises on accelerators. Reductions over a short channel axis go
to a library call: the core works on lists of channel planes and adds them in Python.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# What is worked on at a time stays in cache. Not a power of two: arrays a multiple of 4 kB apart
# evict each other.
BAND_PIXELS = 8000
_SPARE_ROWS = 256  # a power of two
_RADIX = 8


_KINDS = ("cpu", "gpu", "cuda", "rocm", "tpu")
# A part of the key of every cache of jit, so that one function has a trace for each kind.
_lowered_for = jax.make_user_context(None)


@contextlib.contextmanager
def lower_for(kind: str) -> Iterator[None]:
    """Traces inside are made for this kind of device, whatever the machine has; per thread.

    For programs that are compiled but not run here. What runs inside computes the same values, on
    the devices that there are.

    Args:
      kind: 'cpu', 'gpu', 'cuda', 'rocm' or 'tpu'.

    Raises:
      ValueError: another kind.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}, wanted one of {', '.join(_KINDS)}")
    with _lowered_for(kind):
        yield


def on_cpu() -> bool:
    """Whether programs are traced for a CPU; the one switch between the two code paths.

    That is what `lower_for` says, and otherwise where computations run by default.
    """
    if _lowered_for.value is not None:
        return _lowered_for.value == "cpu"
    device = jax.config.jax_default_device
    if device is None:
        return jax.default_backend() == "cpu"
    return (device if isinstance(device, str) else device.platform) == "cpu"


@jax.custom_batching.custom_vmap
def _live(x):
    return lax.bitcast_convert_type(x.reshape(-1)[0], jnp.int32) != 0x7FBADBAD


@_live.def_vmap
def _live_vmap(axis_size, in_batched, x):
    del axis_size, in_batched
    return _live(x), False


def live(x: jax.Array, cpu: bool) -> jax.Array | None:
    """A run-time `True` for `pin`: XLA cannot fold it, and vmap cannot batch it.

    A batched predicate would turn the conditional of `pin` into a select that evaluates both sides.

    Args:
      x: any non-empty array of 32-bit values that is not a compile-time constant.
      cpu: whether pinning is wanted.

    Returns:
      A scalar bool, or None where pinning is off.
    """
    return _live(lax.stop_gradient(x)) if cpu and x.size else None


def pin(flag: jax.Array | None, fn: Callable[[], Any]) -> Any:
    """The results of `fn()` computed once and stored, where `flag` comes from `live`.

    A conditional with a run-time predicate is not fused into its consumers.
    """
    if flag is None:
        return fn()
    shapes = jax.eval_shape(fn)
    return lax.cond(flag, fn, lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))


def take(a: jax.Array, index: jax.Array) -> jax.Array:
    """a[index] for indices known to be in range; zeros from an empty array."""
    if not a.shape[0]:
        return jnp.zeros((*index.shape, *a.shape[1:]), a.dtype)
    return jnp.asarray(a).at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def scatter_rows(total: jax.Array, index: jax.Array, rows: jax.Array) -> jax.Array:
    """Adds rows [N, 3 C] to the rows [C] of `total` at `index` [N, 3].

    One scatter of whole rows costs little more than one of a single column.
    """
    rows = rows.reshape(-1, total.shape[1])
    return total.at[index.reshape(-1)].add(rows, mode="promise_in_bounds")


def empty_rows(length: int, columns: int) -> jax.Array:
    """Zeros for `scatter_rows`: rows from `length` on take what belongs nowhere."""
    return jnp.zeros((length + _SPARE_ROWS, columns), jnp.float32)


def spare_row(length: int, count: int) -> jax.Array:
    """Rows past `length` for `count` entries that belong nowhere, [count] int32.

    Neighbours get different ones: additions to a single row would wait for each other.
    """
    return length + (jnp.arange(count, dtype=jnp.int32) & (_SPARE_ROWS - 1))


def sum_over_bands(fn: Callable, arrays: Any, start: Any, total: int, cpu: bool) -> tuple[Any, Any]:
    """fn(pixel, fresh, arrays of a band, sums) -> (planes of the band, sums) over bands of pixels.

    Small bands keep the many temporaries of a gradient in cache. One band on accelerators.

    Args:
      fn: see above; `pixel` [N] int32 is the flat index, results are [N, ...]. Where `fresh` [N] is
        False the pixel comes again in the next band: it may not go into the sums.
      arrays: pytree of [total].
      start: what the first band gets as its sums.
      total: number of pixels.
      cpu: whether to use bands.

    Returns:
      What `fn` returned for all pixels, [total, ...], and the last sums.
    """
    size = min(BAND_PIXELS, total) if cpu else total
    steps = -(-total // size)
    offset = jnp.arange(size, dtype=jnp.int32)
    if steps == 1:
        return fn(offset, jnp.ones(size, bool), arrays, start)
    shapes = jax.eval_shape(
        fn, offset, offset == 0, jax.tree.map(lambda a: a[:size], arrays), start
    )[0]

    def band(k, carry):
        out, sums = carry
        k = k.astype(jnp.int32)
        end = total - (steps - 1 - k) * size
        low = jnp.maximum(end - size, 0)
        mine = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, low, size), arrays)
        new, sums = fn(low + offset, low + offset < end, mine, sums)
        out = jax.tree.map(lambda o, x: lax.dynamic_update_slice_in_dim(o, x, low, 0), out, new)
        return out, sums

    out = jax.tree.map(lambda s: jnp.zeros((total, *s.shape[1:]), s.dtype), shapes)
    return lax.fori_loop(0, steps, band, (out, start))


def running(op: Callable, x: jax.Array, reach: int | jax.Array) -> jax.Array:
    """op over each entry and at least the reach - 1 entries before it; zero is neutral.

    Windows grow eightfold per pass: few passes, and a fraction of the code of
    `lax.associative_scan`, which takes most of a second to compile.

    Args:
      op: of two arrays, such as lax.add or lax.max.
      x: [N]; not negative for lax.max.
      reach: static or not; N for the usual prefix sum. Entries further back may count or not.
    """
    size = x.shape[0]

    def widen(carry):
        step, x = carry
        padded = jnp.concatenate([jnp.zeros_like(x), x])
        parts = [
            lax.dynamic_slice_in_dim(padded, jnp.maximum(size - j * step, 0), size)
            for j in range(_RADIX)
        ]
        return step * _RADIX, functools.reduce(op, parts)

    return lax.while_loop(lambda c: c[0] < reach, widen, (jnp.int32(1), x))[1]


def zero_cotangent(tree: Any) -> Any:
    """Cotangents of zero for arguments without a gradient, integers included."""

    def zero(x):
        if jnp.issubdtype(x.dtype, jnp.integer):
            return np.zeros(x.shape, jax.dtypes.float0)
        return jnp.zeros(x.shape, x.dtype)

    return jax.tree.map(zero, tree)


def map_images(fn: Callable, args: Sequence[Any], ranks: Sequence[Any], cpu: bool) -> Any:
    """Applies a function of single images over leading batch dims.

    A loop on CPU, one vectorised call on accelerators. Arguments without batch dims are not copied.

    Args:
      fn: takes the arguments without batch dims, returns a pytree of arrays.
      args: pytrees of arrays, each with leading batch dims that broadcast.
      ranks: per argument, the number of its dims that belong to one image: an int, or a pytree of
        ints like the argument.
      cpu: whether to loop.

    Returns:
      What `fn` returns, with the common batch dims in front.
    """
    leaves, tree = jax.tree.flatten(tuple(args))
    rank_leaves = []
    for arg, rank in zip(args, ranks, strict=True):
        count = jax.tree.structure(arg).num_leaves
        rank_leaves += [rank] * count if isinstance(rank, int) else jax.tree.leaves(rank)
    cores = [x.shape[x.ndim - r :] for x, r in zip(leaves, rank_leaves, strict=True)]
    batches = [x.shape[: x.ndim - r] for x, r in zip(leaves, rank_leaves, strict=True)]
    batch = jnp.broadcast_shapes(*batches)
    if not batch:
        return fn(*args)
    if np.prod(batch) == 1:
        one = fn(*tree.unflatten([x.reshape(c) for x, c in zip(leaves, cores, strict=True)]))
        return jax.tree.map(lambda x: x.reshape(*batch, *x.shape), one)
    mapped = [bool(b) for b in batches]
    stacked = [
        jnp.broadcast_to(x, (*batch, *c)).reshape(-1, *c)
        for x, c, m in zip(leaves, cores, mapped, strict=True)
        if m
    ]

    def one_image(values):
        values = iter(values)
        full = [next(values) if m else x for x, m in zip(leaves, mapped, strict=True)]
        return fn(*tree.unflatten(full))

    out = lax.map(one_image, stacked) if cpu else jax.vmap(one_image)(stacked)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), out)


def planes(x: jax.Array) -> list[jax.Array]:
    """[..., C] -> C arrays [...]; the gradient is one concatenation, not C padded sums."""
    x = jnp.asarray(x)
    return [p[..., 0] for p in lax.split(x, (1,) * x.shape[-1], axis=-1)] if x.shape[-1] else []


def sum_products(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> jax.Array:
    """Sum of a[k] * b[k], without an XLA reduction."""
    return functools.reduce(lambda total, ab: total + ab[0] * ab[1], zip(a, b, strict=True), 0.0)
