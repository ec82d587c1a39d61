"""Trained networks that turn photo crops into coefficients: runs of ours, or imported weights."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

import jax

from facejax.host.shell import command_line
from facejax.morphable import MorphableModel, load_morphable
from facejax.recon.decoder import Reconstruction
from facejax.train.runs import load_run


@dataclasses.dataclass(frozen=True)
class Regressor:
    """A trained network and the face model that it belongs to.

    Attributes:
      model: the face model.
      size: side of its crops.
      predict: [B, size, size, 3] in [0, 1] -> `Reconstruction`.
    """

    model: MorphableModel
    size: int
    predict: Callable[[jax.Array], Reconstruction]


def load_regressor(weights: str | os.PathLike, model: str | os.PathLike | None = None) -> Regressor:
    """A network from a run folder or from a file of imported weights.

    Args:
      weights: a run of configs/deep3d.py, or an .npz of facejax import_weights
        --system=deep3d --part=rnet.
      model: name or path of the face model; None takes the run's. Imported weights need it.

    Raises:
      ValueError: neither, no checkpoint yet, or a face model with other coefficients.
    """
    path = pathlib.Path(weights)
    if path.is_dir():
        return _run_regressor(path, model)
    if not path.is_file():
        raise ValueError(
            f"{path}: no such run folder or weights file; train one with "
            f"`{command_line('facejax', 'train', '--config=deep3d', f'--workdir={path}')}`, or use "
            "--method=fit, which needs none"
        )
    return _file_regressor(path, model)


def _run_regressor(path, model):
    run = load_run(path, "deep3d")
    system = run.system
    if model is not None:
        _require_same(load_morphable(model), system.model, path)
    params = jax.device_put(run.params)
    predict = functools.partial(jax.jit(system.predict), params)
    return Regressor(params["face_model"], system.camera.size, predict)


def _require_same(given, trained, path):
    sizes = [(m.num_id, m.num_exp, m.num_alb) for m in (given, trained)]
    if given.topology.digest != trained.topology.digest:
        raise ValueError(
            f"{path}: its network was trained for the face model {trained.topology.name!r} with "
            f"{sizes[1]} identity, expression and albedo coefficients, found --model "
            f"{given.topology.name!r} with {sizes[0]}; leave --model away, or use --method=fit"
        )


def _file_regressor(path, model):
    from facejax.pretrained.importer import load_weights

    net, variables, _ = load_weights(path, "rnet")
    if model is None:
        raise ValueError(
            f"{path}: imported weights need the face model they belong to; give "
            "--model=BFM_model_front.mat (see data_prep/import_bfm.py)"
        )
    loaded = load_morphable(model)
    sizes = dict(net.sizes)
    found = tuple(sizes[k] for k in ("id", "exp", "tex"))
    wanted = (loaded.num_id, loaded.num_exp, loaded.num_alb)
    if found != wanted:
        raise ValueError(
            f"{path}: found {found} identity, expression and texture coefficients, wanted {wanted} "
            f"of the face model {loaded.topology.name!r}; give the --model they belong to"
        )

    @jax.jit
    def predict(variables, image):
        if net.variant == "slim":  # BGR in [0, 255]
            image = 255.0 * image[..., ::-1]
        return Reconstruction(net.apply(variables, image)[0])

    return Regressor(loaded, 224, functools.partial(predict, variables))
