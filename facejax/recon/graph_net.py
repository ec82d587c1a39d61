"""A graph network on the mesh of a face model, given the features of a photo.

Lin et al. 2020 (arXiv 2003.05653) let it predict the albedo of the vertices, GCN_ResNet
(steventai0212) their shape.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.geometry.hierarchy import MeshHierarchy
from facejax.nn.chebyshev import ChebConv, Rows, plain_rows
from facejax.nn.init import init_params


class _ResBlock(nn.Module):
    """Two Chebyshev convolutions and a shortcut, which is linear where the width changes."""

    features: int
    order: int
    activation: Callable

    @nn.compact
    def __call__(self, x, graph):
        y = self.activation(ChebConv(self.features, self.order, True, name="conv1")(x, graph))
        y = ChebConv(self.features, self.order, True, name="conv2")(y, graph)
        if x.shape[-1] != self.features:
            x = ChebConv(self.features, 1, name="shortcut")(x, graph)
        return self.activation(x + y)


class _Decoder(nn.Module):
    """Embedding to values on the finest mesh, through all levels."""

    widths: tuple[int, ...]
    residual_blocks: bool
    order: int
    activation: Callable

    @nn.compact
    def __call__(self, embedding, hierarchy):
        sizes, act = hierarchy.sizes, self.activation
        x = act(nn.Dense(sizes[-1] * self.widths[0], name="fc")(embedding))
        x = x.reshape(*embedding.shape[:-1], sizes[-1], self.widths[0])
        for k in range(1, len(sizes)):
            level = len(sizes) - 1 - k
            x, graph = hierarchy.unpool(x, level), _graph(hierarchy, level)
            width = self.widths[min(k, len(self.widths) - 1)]
            if self.residual_blocks:
                x = _ResBlock(width if level else 3, self.order, act, name=f"block{k}")(x, graph)
            else:
                x = act(ChebConv(width, self.order, True, name=f"conv{k}")(x, graph))
        if not self.residual_blocks:
            x = act(ChebConv(3, self.order, True, name="out")(x, _graph(hierarchy, 0)))
        return x


class _ResRefiner(nn.Module):
    """Values on the finest mesh to the same, over the two finest levels."""

    widths: tuple[int, ...]
    order: int
    activation: Callable

    @nn.compact
    def __call__(self, x, hierarchy):
        levels = (0, 1, 1, 0, 0)
        for k, width in enumerate((*self.widths, 3)):
            if k == 1:
                x = hierarchy.pool(x, 0)
            elif k == 3:
                x = hierarchy.unpool(x, 0)
            block = _ResBlock(width, self.order, self.activation, name=f"block{k + 1}")
            x = block(x, _graph(hierarchy, levels[k]))
        return x


class _Autoencoder(nn.Module):
    """Values on the finest mesh to the same, over all levels and a bottleneck, with two skips."""

    widths: tuple[int, ...]
    order: int
    bottleneck: int
    activation: Callable

    @nn.compact
    def __call__(self, x, hierarchy):
        sizes, act = hierarchy.sizes, self.activation
        x = ChebConv(self.widths[0], self.order, name="conv0")(x, _graph(hierarchy, 0))
        skips, widths = [], [self.widths[min(k, len(self.widths) - 1)] for k in range(len(sizes))]
        for k in range(1, len(sizes)):
            x = hierarchy.pool(x, k - 1)
            conv = ChebConv(widths[k - 1], self.order, True, name=f"encode{k}")
            x = act(conv(x, _graph(hierarchy, k)))
            skips.append(x)
        shape = x.shape
        x = x.reshape(*shape[:-2], -1)
        x = act(nn.Dense(self.bottleneck, name="fc1")(x))
        x = act(nn.Dense(shape[-2] * shape[-1], name="fc2")(x)).reshape(shape)
        for k in range(1, len(sizes)):
            level = len(sizes) - 1 - k
            x = hierarchy.unpool(x, level)
            if k <= 2 and level:
                x = jnp.concatenate([x, skips[level - 1]], axis=-1)
            conv = ChebConv(widths[level], self.order, True, name=f"decode{k}")
            x = act(conv(x, _graph(hierarchy, level)))
        return act(ChebConv(3, self.order, True, name="out")(x, _graph(hierarchy, 0)))


def _graph(hierarchy: MeshHierarchy, level: int) -> Rows:
    index, weight = hierarchy.neighbors[level], hierarchy.weights[level]
    if not hierarchy.busy:
        return plain_rows(index, weight)
    return Rows(index, weight, hierarchy.common[level], hierarchy.busy[level])


WIDTHS = {  # variant: (decoder, refiner)
    "normal": ((32, 16, 16, 16, 16), (16, 32, 64, 128)),
    "resnet": ((32, 16, 16, 16), (16, 32, 32, 16)),
    "wide": ((32, 64, 128, 256), (16, 32, 64, 128)),
}
_ACTIVATIONS = {"shape": nn.relu, "albedo": nn.elu}


class GraphNet(nn.Module):
    """Image features and the face model's mesh to a mesh that is free to leave the model.

    A decoder unfolds the features over the mesh, a refiner filters the face model's values at the
    vertices, and a last graph convolution joins both.

    Attributes:
      target: 'shape' (ReLU, as GCN_ResNet) or 'albedo' (ELU, as Lin et al.).
      variant: 'resnet'; 'wide' (the same with more channels); or 'normal' (plain convolutions, the
        refiner an autoencoder).
      order: Chebyshev polynomials per convolution.
      bottleneck: of the autoencoder of 'normal'.
      scale: the output lies in (-scale, scale) and the first three input channels are divided by
        it. Vertices in decimetres of a face, and colours in [-1, 1], need 1.
      residual: add the output to the input's first three channels, and start at zero: an untrained
        net then returns the face model's mesh. ELU for both targets: six channels reach the last
        convolution, and where ReLU lets all of them die the offsets are zero for good. The
        published networks do not.
    """

    target: str = "shape"
    variant: str = "resnet"
    order: int = 6
    bottleneck: int = 512
    scale: float = 1.0
    residual: bool = False

    @nn.compact
    def __call__(
        self, embedding: jax.Array, values: jax.Array, hierarchy: MeshHierarchy
    ) -> jax.Array:
        """Values at the vertices.

        Args:
          embedding: [..., E] image features.
          values: [..., V, C]; 'shape': centred vertices of the face model, C = 3; 'albedo': its
            albedo in [-1, 1], and as further channels the photo's colour at the vertex and whether
            it is seen there.
          hierarchy: of the mesh.

        Returns:
          [..., V, 3] in (-scale, scale) (without `residual`).
        """
        if self.variant not in WIDTHS or self.target not in _ACTIVATIONS:
            raise ValueError(
                f"found a graph net for target {self.target!r}, variant {self.variant!r}; wanted "
                f"a target of {sorted(_ACTIVATIONS)} and a variant of {sorted(WIDTHS)}"
            )
        if len(hierarchy.sizes) < 2 or values.shape[-2] != hierarchy.sizes[0]:
            raise ValueError(
                f"found {values.shape[-2]} vertices and a hierarchy of {hierarchy.sizes}; wanted "
                "the hierarchy of this mesh, of at least two levels"
            )
        act = nn.elu if self.residual else _ACTIVATIONS[self.target]
        decoder, refiner = WIDTHS[self.variant]
        plain = self.variant == "normal"
        base = values[..., :3]
        x = jnp.concatenate([base / self.scale, values[..., 3:]], axis=-1)
        decoded = _Decoder(decoder, not plain, self.order, act, name="decoder")(
            embedding, hierarchy
        )
        if plain:
            net = _Autoencoder(refiner, self.order, self.bottleneck, act, name="refiner")
        else:
            net = _ResRefiner(refiner, self.order, act, name="refiner")
        x = jnp.concatenate([decoded, net(x, hierarchy)], axis=-1)
        out = ChebConv(3, self.order, name="combine")(x, _graph(hierarchy, 0))
        out = self.scale * jnp.tanh(out)
        return base + out if self.residual else out


def init_graph_net(
    net: GraphNet, seed: int, hierarchy: MeshHierarchy, embedding_size: int, channels: int = 3
) -> dict:
    """Untrained {'params'} of a graph net, as numpy arrays.

    As published: 'shape' truncated normal weights of standard deviation 0.1 and biases of 0.1,
    'albedo' He-normal weights and no biases.

    Args:
      net: the module.
      seed: any integer.
      hierarchy: of the mesh.
      embedding_size: E.
      channels: C of the values at the vertices.
    """

    def rule(name, shape, rng):
        if name.endswith("bias"):
            return np.full(shape, 0.1 if net.target == "shape" else 0.0)
        if net.residual and name.startswith("combine"):
            return np.zeros(shape)
        if net.target == "albedo":
            return rng.standard_normal(shape) * math.sqrt(2.0 / math.prod(shape[:-1]))
        draw = rng.standard_normal(shape)
        while (far := np.abs(draw) > 2.0).any():
            draw[far] = rng.standard_normal(far.sum())
        return 0.1 * draw

    embedding = jax.ShapeDtypeStruct((1, embedding_size), jnp.float32)
    values = jax.ShapeDtypeStruct((1, hierarchy.sizes[0], channels), jnp.float32)
    return {"params": init_params(net.init, seed, rule, embedding, values, hierarchy)}
