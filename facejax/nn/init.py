"""Parameters made on the host: exact shapes from `eval_shape`, numbers from numpy.

Compiling a random draw per parameter shape costs about a second each on CPU; this costs
milliseconds, and the numbers do not depend on the jax version, the backend or the devices.
"""

import contextlib
import contextvars
import zlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

_shapes_only = contextvars.ContextVar("shapes_only", default=False)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Inside, `init_params` draws nothing and returns shapes (`jax.ShapeDtypeStruct`)."""
    token = _shapes_only.set(True)
    try:
        yield
    finally:
        _shapes_only.reset(token)


def only_shapes() -> bool:
    """Whether the caller runs inside `shapes_only`."""
    return _shapes_only.get()


def init_params(init: Callable, seed: int, rule: Callable, *args) -> dict:
    """Numpy parameters of a Flax module.

    Args:
      init: the module's `init`, called abstractly as init(key, *args).
      seed: any integer; each leaf has its own stream from (seed, its path).
      rule: (path 'a/b/weight', shape, numpy Generator) -> array of that shape.
      *args: abstract or real inputs of the module.

    Returns:
      The 'params' collection as nested dicts of float32 arrays.
    """
    tree = abstract_params(init, *args)
    if only_shapes():
        return tree

    def fill(path, leaf):
        name = "/".join(p.key for p in path)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        return np.asarray(rule(name, leaf.shape, rng), np.float32)

    return jax.tree_util.tree_map_with_path(fill, tree)


def abstract_params(init: Callable, *args) -> dict:
    """Shapes of a Flax module's parameters, as nested dicts of jax.ShapeDtypeStruct."""
    # the key is made inside the trace: outside of it a device would make it
    return jax.eval_shape(lambda *a: init(jax.random.key(0), *a), *args)["params"]


def equalized_rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Equalised learning rate: weights N(0, 1), everything else zero."""
    return rng.standard_normal(shape) if name.endswith("weight") else np.zeros(shape)


def init_torch(init: Callable, seed: int, *args) -> dict:
    """Numpy parameters as PyTorch's layers start: kernels and biases U(-1, 1) / sqrt(fan-in).

    Kernels end in (in, out), so that the fan-in is the product of their other axes; of a transposed
    convolution PyTorch counts the output channels, hence (h, w, out, in). 'scale' is 1 and a 'bias'
    beside it 0 (batch normalisation).

    Args:
      init, seed, *args: see `init_params`.
    """
    shapes = abstract_params(init, *args)

    def rule(name, shape, rng):
        *parents, leaf = name.split("/")
        node = shapes
        for part in parents:
            node = node[part]
        if "kernel" not in node:
            return np.ones(shape) if leaf == "scale" else np.zeros(shape)
        bound = 1.0 / np.sqrt(np.prod(node["kernel"].shape[:-1]))
        return rng.uniform(-bound, bound, shape)

    return init_params(init, seed, rule, *args)
