"""A frozen R-Net: photos to coefficients, for systems whose losses look through it."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from facejax.morphable.model import MorphableModel
from facejax.nn.init import only_shapes
from facejax.nn.precision import cast, uncast
from facejax.pretrained.importer import load_weights
from facejax.recon.rnet import RNet, head_sizes, init_rnet
from facejax.train.config import load_config
from facejax.train.runs import load_run, read_run_config
from facejax.train.system import Frozen


@dataclasses.dataclass(frozen=True)
class Regressor:
    """A network from pictures to coefficients; its weights are an argument.

    Attributes:
      net: the module.
      size: side of the pictures that it is given.
    """

    net: RNet
    size: int

    def __call__(self, variables: dict, image: jax.Array, dtype: str = "float32") -> jax.Array:
        """Coefficients [B, n], see `facejax.recon.decoder.split`.

        Args:
          variables: the network's collections; no gradient flows into them.
          image: [B, size, size, 3] in [0, 1].
          dtype: to compute in.
        """
        variables = cast(jax.lax.stop_gradient(variables), dtype)
        picture = 255.0 * image[..., ::-1] if self.net.variant == "slim" else image
        return uncast(self.net.apply(variables, cast(jnp.asarray(picture), dtype))[0])


def make_regressor(config, model: MorphableModel) -> Regressor:
    """The regressor of `config.regression`, without its weights.

    Args:
      config: with `regression`: run, the folder of a deep3d run; weights, a file of imported R-Net
        weights; size, width, depth and variant of a network that nobody trained, where both are '';
        train: the configuration whose network `run` holds, where that has yet to be trained.
      model: the face model of the coefficients.

    Raises:
      ValueError: both a run and a file, no such run or file, or one for another face model.
    """
    c = config.regression
    if c.run and c.weights:
        raise ValueError(
            f"regression.run is {c.run!r} and regression.weights {c.weights!r}: give one of them"
        )
    sizes = head_sizes(model)
    if c.weights:
        net = load_weights(c.weights, "rnet")[0]
        if dict(net.sizes) != dict(sizes):
            raise ValueError(
                f"{c.weights} finds the coefficients {dict(net.sizes)}, the face model "
                f"{model.topology.name} has {dict(sizes)}: they do not belong together"
            )
        return Regressor(net, 224)
    if c.run:
        options = _run_options(c, model)
        return Regressor(RNet(sizes, **options["model"]), options["size"])
    net = RNet(sizes, depth=c.depth, width=c.width, variant=c.variant)
    return Regressor(net, c.size)


def _run_options(c, model: MorphableModel) -> dict[str, Any]:
    """The network's attributes and the side of its pictures, of a run that may yet be trained."""
    trained = (pathlib.Path(c.run) / "config.json").is_file()
    run = read_run_config(c.run, "deep3d") if trained or c.run != "auto" else load_config(c.train)
    if run.data.model != model.topology.name and not run.data.model_path:
        raise ValueError(
            f"{c.run} was trained with the face model {run.data.model!r}, this run has "
            f"{model.topology.name!r}: set --config.regression.run=auto, or give another run"
        )
    options = {k: v for k, v in run.model.items() if k != "init"}
    return {"model": options, "size": run.data.image_size}


def regressor_weights(config, regressor: Regressor, seed: int) -> Frozen:
    """The variables of a regressor: of a run, of a file, or drawn.

    Args:
      config: see `make_regressor`.
      regressor: made of it.
      seed: of weights that nobody trained.

    Raises:
      ValueError: no such run or file, no checkpoint yet, or another face model's.
    """
    c, net = config.regression, regressor.net
    if c.run and only_shapes() and not (pathlib.Path(c.run) / "config.json").is_file():
        return Frozen(init_rnet(net, seed, regressor.size), f"{c.run}, to be trained")
    if c.run:
        run = load_run(c.run, "deep3d")
        variables = {"params": run.params["rnet"], "batch_stats": run.params.get("rnet_stats", {})}
        wanted = jax.eval_shape(lambda: init_rnet(net, seed, regressor.size))["params"]
        if jax.tree.map(jnp.shape, variables["params"]) != jax.tree.map(jnp.shape, wanted):
            raise ValueError(
                f"{c.run} has an R-Net of other sizes than this run's face model asks for: train "
                "one with --config.regression.run=auto"
            )
        return Frozen(variables, f"{c.run}, step {run.meta['step']}")
    if c.weights:
        _, variables, meta = load_weights(c.weights, "rnet")
        return Frozen(variables, f"{c.weights} ({meta['origin']})")
    return Frozen(init_rnet(net, seed, regressor.size), f"an untrained R-Net of seed {seed}")
