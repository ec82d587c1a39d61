"""Network pickles of the progressive GAN family: (G, D, Gs), without TensorFlow.

Progressive GANs (TBGAN among them) and StyleGAN (DiscoFaceGAN among them) save a tuple of three
networks. Each holds its options, its variables by name, the source text that made it, which is
neither looked at nor run, and in StyleGAN networks of its own ('components').
"""

import os
from typing import Any

import jax
import numpy as np

from facejax.host.files import reading
from facejax.io.pickles import restricted_load

_WANTED = {"name", "static_kwargs", "variables"}


class _Network:
    """Stands for the original's network class in a pickle; holds its state, runs nothing."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__["state"] = state


def load_network_pickle(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The networks of a published `network-*.pkl`; nothing in it is run.

    Args:
      path: of a pickle with the tuple (G, D, Gs).

    Returns:
      Three dicts with 'name', 'static_kwargs' and 'variables' (name -> array of numbers); variables
      of components are named 'COMPONENT/NAME', the component as it calls itself.

    Raises:
      ValueError: the file is no such pickle, or asks for anything but arrays and networks.
    """
    networks = restricted_load(
        path, {("*", "Network"): _Network, ("*", "EasyDict"): dict}, "latin1"
    )
    if not isinstance(networks, tuple | list) or len(networks) != 3:
        raise ValueError(f"{path}: found {type(networks).__name__}, wanted the tuple (G, D, Gs)")
    out = []
    for network in networks:
        state = _state_of(network, path)
        with reading(path, "a network pickle"):
            variables = _variables_of(network, path)
            out.append(
                {
                    "name": str(state["name"]),
                    "static_kwargs": dict(state["static_kwargs"]),
                    "variables": variables,
                }
            )
        odd = [name for name, value in variables.items() if value.dtype.kind not in "fiub"]
        if odd:
            raise ValueError(f"{path}: the variable {odd[0]!r} of a network holds no numbers")
    return out


def check_variables(name: str, found: Any, wanted: Any, path: Any) -> None:
    """Refuses trees of parameters that are not exactly the wanted ones, in names and shapes.

    Args:
      name: of the network, for the error.
      found: tree of arrays, made of its variables.
      wanted: tree of arrays or shapes, of a network with its options.
      path: of the pickle, for the error.

    Raises:
      ValueError: names or shapes differ, or a number is not finite.
    """
    shapes, expected = (
        {jax.tree_util.keystr(k, simple=True, separator="/"): tuple(v.shape) for k, v in leaves}
        for leaves in (
            jax.tree_util.tree_flatten_with_path(found)[0],
            jax.tree_util.tree_flatten_with_path(wanted)[0],
        )
    )
    keys = shapes.keys() | expected.keys()
    differing = sorted(k for k in keys if shapes.get(k) != expected.get(k))
    if differing:
        rows = ", ".join(f"{k} {shapes.get(k)} wanted {expected.get(k)}" for k in differing[:3])
        raise ValueError(
            f"{path}: {len(differing)} variable(s) of network {name} do not fit its options: {rows}"
        )
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(found)):
        raise ValueError(f"{path}: network {name} holds NaN or infinity")


def _state_of(network: Any, path: Any) -> dict[str, Any]:
    state = getattr(network, "state", None)
    if not isinstance(network, _Network) or not isinstance(state, dict):
        raise ValueError(f"{path}: found {type(network).__name__}, wanted a pickled network")
    missing = _WANTED - set(state)
    if missing:
        raise ValueError(f"{path}: a network lacks {sorted(missing)}: is this a network pickle?")
    return state


def _variables_of(network: Any, path: Any, depth: int = 0) -> dict[str, np.ndarray]:
    """Own variables, and those of the components under their names."""
    state = _state_of(network, path)
    if depth > 1:  # a component of a component: no such network, but perhaps a file without end
        raise ValueError(f"{path}: the components of a network have components themselves")
    variables = {str(name): np.asarray(a) for name, a in state["variables"]}
    for component in dict(state.get("components") or {}).values():
        inner = _variables_of(component, path, depth + 1)
        prefix = str(_state_of(component, path)["name"])
        variables |= {f"{prefix}/{name}": a for name, a in inner.items()}
    return variables
