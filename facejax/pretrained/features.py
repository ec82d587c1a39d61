"""The frozen VGG features of perceptual losses."""

import jax
import numpy as np

from facejax.nn.init import init_params
from facejax.nn.vgg import VGG19
from facejax.pretrained.importer import load_weights
from facejax.pretrained.published import abstract_variables
from facejax.train.system import Frozen


def _rule(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """He-normal kernels, biases 0."""
    if not name.endswith("kernel"):
        return np.zeros(shape)
    return rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))


def vgg_weights(net: VGG19, path: str, seed: int) -> Frozen:
    """The variables {'params'} of VGG features: of a file, or drawn.

    Features of random weights measure differences too, of edges and colours at several scales;
    those of ImageNet come closer to what people see.

    Args:
      net: the module.
      path: '' or a file that facejax import_weights wrote, of the part 'vgg19'.
      seed: of weights that nobody trained.

    Raises:
      ValueError: no such file, or a network of another width.
    """
    if not path:
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
        params = init_params(net.init, seed, _rule, image)
        return Frozen({"params": params}, f"an untrained VGG19 of seed {seed}")
    found, variables, meta = load_weights(path, "vgg19")
    if found.width != net.width:
        raise ValueError(
            f"{path}: a VGG19 of width {found.width}, but vgg.width is {net.width}: set it to the "
            "file's"
        )
    used = abstract_variables(net, (1, 32, 32, 3))["params"]
    return Frozen(
        {"params": {k: variables["params"][k] for k in used}}, f"{path} ({meta['origin']})"
    )
