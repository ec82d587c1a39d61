"""The networks of a Deep3D run, and their values at the start of training, as its config says."""

from typing import Any

from facejax.geometry.hierarchy import MeshHierarchy
from facejax.morphable.model import MorphableModel
from facejax.pretrained.importer import initial_rnet
from facejax.recon.graph_net import GraphNet, init_graph_net
from facejax.recon.rnet import RNet, head_sizes
from facejax.systems.deep3d import critic

_CHANNELS = {"shape": 3, "albedo": 7}  # of the graph network's input, by its target


def make_rnet(config, model: MorphableModel) -> RNet:
    """The regressor of `config.model` for a face model."""
    return RNet(head_sizes(model), **{k: v for k, v in config.model.items() if k != "init"})


def make_graph_net(config) -> GraphNet:
    """The graph network of `config.graph`."""
    c = config.graph
    return GraphNet(
        target=c.target, variant=c.variant, order=c.order, bottleneck=c.bottleneck,
        scale=c.scale, residual=c.residual,
    )  # fmt: skip


def make_critic(adversarial: critic.AdversarialConfig) -> critic.ImageCritic:
    """The critic of the adversarial variant."""
    return critic.ImageCritic(adversarial.width, adversarial.norm)


def initial_graph(
    net: GraphNet, seed: int, hierarchy: MeshHierarchy, embedding_size: int
) -> dict[str, Any]:
    """Untrained parameters of the graph network, numpy arrays.

    Args:
      net: the module.
      seed: any integer.
      hierarchy: of the face model's mesh.
      embedding_size: length of R-Net's features, with those of the recogniser where there is one.
    """
    channels = _CHANNELS.get(net.target, 3)  # the module complains about an unknown target
    return init_graph_net(net, seed, hierarchy, embedding_size, channels)["params"]


def initial_regressor(
    net: RNet, seed: int, weights: str, size: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and running statistics of R-Net at the start of training, numpy arrays.

    Args:
      net: the module.
      seed: of what no file gives.
      weights: '' or a file of facejax import_weights, see `initial_rnet`.
      size: side of the crops, pixels.

    Raises:
      ValueError: the file's network has another shape.
    """
    variables = initial_rnet(net, seed, weights, size)
    return variables["params"], variables["batch_stats"]
