"""The generator of VariTex: encoder, texture decoder, additive decoder, neural renderer.

Buehler et al., VariTex: Variational Neural Face Textures (ICCV 2021), and the program that they
published: channels, padding, order of concatenations and buffers are that program's. Images are
NHWC; network images have ImageNet's mean colour taken off and are divided by its deviation.
"""

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.image.resample import resize, upsample2
from facejax.image.sample import sample_bilinear
from facejax.nn.blocks import BatchNorm, Conv, initial_batch_stats
from facejax.nn.init import init_torch
from facejax.nn.resnet import ResNet
from facejax.nn.vgg import max_pool2

SIZES = (32, 64, 128, 256)  # of neural textures and of images
_BASE = 4  # side of what the decoders start from
# Stages of a decoder and their channels in units of the width. Smaller outputs than the published
# 128 and 256 leave out stages in the middle.
_STAGES = {"initial": 4, "layer0": 4, "layer1": 4, "layer2": 2, "layer3": 1, "layer4": 1}
_ENCODER_DEPTHS = {1: 10, 2: 18}  # by blocks of a stage
_LEFT_OUT = {32: ("layer0", "layer1"), 64: ("layer1",), 128: (), 256: ()}


@flax.struct.dataclass
class Generated:
    """Everything that one pass computes, by the names of the published program.

    Attributes:
      image_encoded: [B, 8 width] features of the encoded image.
      style_latent_mu, style_latent_std: [B, latent] of the posterior.
      style_latent: [B, latent], the sample; its halves are `latent_interior`, `latent_exterior`.
      texture_person: [B, T, T, C] neural texture.
      face_featureimage: [B, S, S, C], the texture where the face is seen.
      mask_uv: [B, S, S, 1] bool, where the face is seen.
      additive_featureimage: [B, S, S, C], everything else: hair, ears, mouth.
      full_featureimage: [B, S, S, 2 C], both.
      segmentation_predicted: [B, S, S, 1] probability of the foreground.
      image_out: [B, S, S, 3] network image, of any range.
    """

    image_encoded: jax.Array
    style_latent_mu: jax.Array
    style_latent_std: jax.Array
    style_latent: jax.Array
    latent_interior: jax.Array
    latent_exterior: jax.Array
    texture_person: jax.Array
    face_featureimage: jax.Array
    mask_uv: jax.Array
    additive_featureimage: jax.Array
    full_featureimage: jax.Array
    segmentation_predicted: jax.Array
    image_out: jax.Array


def decoder_stages(size: int) -> tuple[tuple[str, int, int], ...]:
    """(name, channels in units of the width, scale) of the stages that end in a side of `size`.

    Raises:
      ValueError: a size that is not in SIZES.
    """
    if size not in SIZES:
        raise ValueError(f"decoders make sides of {', '.join(map(str, SIZES))}; found {size}")
    names = [name for name in _STAGES if name not in _LEFT_OUT[size]]
    doublings = round(math.log2(size / _BASE))
    return tuple((name, _STAGES[name], 2 if k < doublings else 1) for k, name in enumerate(names))


class DecoderBlock(nn.Module):
    """A residual block that enlarges; conditioned on an image where it is given one.

    Attributes:
      features: output channels.
      scale: 1 or 2, of nearest-neighbour enlargement.
    """

    features: int
    scale: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, condition: jax.Array | None = None) -> jax.Array:
        """[B, H, W, C] -> [B, scale H, scale W, features].

        Args:
          x: the input.
          train: normalise by the batch.
          condition: [B, H', W', N], resized to x (bilinear, no antialiasing) and appended to what
            the first convolution reads.
        """
        width = x.shape[-1]
        y = x
        if condition is not None:
            y = jnp.concatenate([x, resize(condition, x.shape[1:3], antialias=False)], axis=-1)
        y = Conv(width, padding=1, name="conv1")(y)
        y = nn.relu(BatchNorm(name="bn1")(y, train))
        y = Conv(self.features, padding=1, name="conv2")(self._enlarge(y))
        y = BatchNorm(name="bn2")(y, train)
        if self.scale > 1 or width != self.features:
            # a 1x1 convolution commutes with the enlargement
            x = self._enlarge(Conv(self.features, (1, 1), name="upsample_conv")(x))
            x = BatchNorm(name="upsample_bn")(x, train)
        return nn.relu(x + y)

    def _enlarge(self, x):
        return upsample2(x) if self.scale == 2 else x


class TextureDecoder(nn.Module):
    """The interior half of a latent code to a neural texture.

    Attributes:
      size: side of the texture, one of SIZES.
      channels: of the texture.
      width: channels of the last stages; 64 as published.
      blocks: of a stage, the first of which enlarges; 2 as published.
    """

    size: int
    channels: int
    width: int
    blocks: int = 2

    @nn.compact
    def __call__(self, latent: jax.Array, train: bool = False) -> jax.Array:
        """[B, latent / 2] -> [B, size, size, channels], linear."""
        stages = decoder_stages(self.size)
        x = nn.Dense(8 * self.width * _BASE**2, name="linear")(latent)
        x = x.reshape(-1, _BASE, _BASE, 8 * self.width)
        for name, factor, scale in stages:
            for k in range(self.blocks):
                block = DecoderBlock(factor * self.width, 1 if k else scale, name=f"{name}_{k}")
                x = block(x, train)
        return Conv(self.channels, padding=1, name="conv1")(x)


class AdditiveDecoder(nn.Module):
    """The exterior half of a latent code to features in image space, given the face.

    Attributes: see `TextureDecoder`; `size` is that of the image.
    """

    size: int
    channels: int
    width: int
    blocks: int = 2

    @nn.compact
    def __call__(self, latent: jax.Array, face: jax.Array, train: bool = False) -> jax.Array:
        """[B, latent / 2] -> [B, size, size, channels].

        Args:
          latent: the code.
          face: [B, size, size, N] features of the face; no gradient flows into them, which keeps
            the texture a function of the rendering losses alone.
          train: normalise by the batch.
        """
        stages = decoder_stages(self.size)
        face = jax.lax.stop_gradient(face)
        x = nn.Dense(8 * self.width, name="linear")(latent)
        x = jnp.broadcast_to(x[:, None, None], (len(x), _BASE, _BASE, x.shape[-1]))
        for name, factor, scale in stages:
            features = (8 if name == "initial" else factor) * self.width
            for k in range(self.blocks):
                block = DecoderBlock(features, 1 if k else scale, name=f"{name}_{k}")
                x = block(x, train, face)
        return Conv(self.channels, padding=1, name="conv1")(x)


class _DoubleConv(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, train):
        for k in (1, 2):
            x = Conv(self.features, padding=1, use_bias=True, name=f"conv{k}")(x)
            x = nn.relu(BatchNorm(name=f"bn{k}")(x, train))
        return x


class TransposedConv2(nn.Module):
    """Transposed 2x2 convolution of stride 2: every pixel becomes a block of four.

    Attributes:
      features: output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, 2 H, 2 W, features]; kernel [2, 2, features, C]."""
        n, h, w, c = x.shape
        shape = (2, 2, self.features, c)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        y = x @ kernel.astype(x.dtype).reshape(-1, c).T
        y = y.reshape(n, h, w, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
        return y.reshape(n, 2 * h, 2 * w, -1) + bias.astype(x.dtype).reshape(1, 1, 1, -1)


class _Up(nn.Module):
    features: int
    bilinear: bool

    @nn.compact
    def __call__(self, x, skip, train):
        if self.bilinear:
            # linear maps of channels and of pixels commute
            x = Conv(self.features, (1, 1), use_bias=True, name="upsample")(x)
            x = _stretch2(x)
        else:
            x = TransposedConv2(self.features, name="upsample")(x)
        missing = [skip.shape[axis] - x.shape[axis] for axis in (1, 2)]
        pads = [(m // 2, m - m // 2) for m in missing]
        x = jnp.pad(x, [(0, 0), *pads, (0, 0)])
        return _DoubleConv(self.features, name="conv")(jnp.concatenate([skip, x], -1), train)


def _stretch2(x: jax.Array) -> jax.Array:
    """Bilinear enlargement by two that keeps the corner pixels in place."""
    for axis, letters in ((1, "oh,bhwc->bowc"), (2, "ow,bhwc->bhoc")):
        size = x.shape[axis]
        place = np.arange(2 * size) * ((size - 1) / (2 * size - 1))
        weights = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(size)))
        x = jnp.einsum(letters, weights.astype(x.dtype), x, precision=jax.lax.Precision.HIGHEST)
    return x


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) with padded convolutions and batch normalisation.

    Attributes:
      channels: of the output.
      features: of the first level; each further level has twice as many.
      levels: of resolution.
      bilinear: enlarge bilinearly instead of by transposed convolutions.
    """

    channels: int
    features: int = 64
    levels: int = 5
    bilinear: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, channels]; any H and W of at least 2^(levels - 1)."""
        skips = []
        for k in range(self.levels):
            x = max_pool2(x) if k else x
            x = _DoubleConv(self.features * 2**k, name=f"down{k}")(x, train)
            skips.append(x)
        for k in range(self.levels - 2, -1, -1):
            name = f"up{2 * self.levels - 2 - k}"
            x = _Up(self.features * 2**k, self.bilinear, name=name)(x, skips[k], train)
        return Conv(self.channels, (1, 1), use_bias=True, name="out")(x)


def sample_texture(
    texture: jax.Array, uv: jax.Array, mask_value: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """The neural texture where the face is seen.

    Bilinear between texel centres, which lie at (i + .5) / N; beyond the outermost ones the border
    texel. u = -1 and v = -1 together mark the background.

    Args:
      texture: [B, Ht, Wt, C].
      uv: [B, H, W, 2] in [-1, 1]; v = -1 is row 0.
      mask_value: of the background.

    Returns:
      Features [B, H, W, C], and where the face is, [B, H, W, 1] bool.
    """
    mask = jnp.any(uv != -1.0, axis=-1, keepdims=True)
    features = sample_bilinear(texture, (uv + 1.0) / 2.0)
    return jnp.where(mask, features, jnp.asarray(mask_value, features.dtype)), mask


def sample_style(
    mu: jax.Array, std: jax.Array, noise: jax.Array, multiplier: float | jax.Array = 1.0
) -> jax.Array:
    """mu + multiplier std noise, all [B, latent]; multiplier 0 is the mean."""
    return mu + multiplier * std * noise


class Generator(nn.Module):
    """All networks of the generator; every part of its pass is a method of its own.

    Methods take `train` last: normalise by the batch and update 'batch_stats', which must then be
    mutable. UV maps [B, S, S, 2] are in [-1, 1], the background exactly -1.

    Attributes:
      image_size: S, one of SIZES.
      texture_size: T, one of SIZES.
      texture_channels: of neural textures.
      latent: length of a code: half for the face (interior), half for the rest (exterior).
      width: channels of the first stage of the encoder and the last of the decoders.
      blocks: of each stage of encoder and decoders, 2 as published, or 1.
      unet_features, unet_levels: see `UNet`.
      mask_value: of the face features where there is no face.
    """

    image_size: int = 256
    texture_size: int = 256
    texture_channels: int = 16
    latent: int = 256
    width: int = 64
    blocks: int = 2
    unet_features: int = 64
    unet_levels: int = 5
    mask_value: float = 0.0

    def setup(self):
        if self.latent % 2:
            raise ValueError(f"latent must be even (two halves), found {self.latent}")
        if self.blocks not in _ENCODER_DEPTHS:
            raise ValueError(f"blocks must be 1 or 2, found {self.blocks}")
        self.encoder = ResNet(_ENCODER_DEPTHS[self.blocks], self.width, small_stem=True)
        self.fc_mu = nn.Dense(self.latent)
        self.fc_var = nn.Dense(self.latent)
        shape = (self.texture_channels, self.width, self.blocks)
        self.decoder = TextureDecoder(self.texture_size, *shape)
        self.decoder_exterior = AdditiveDecoder(self.image_size, *shape)
        self.texture2image = UNet(4, self.unet_features, self.unet_levels)

    def encode(self, image: jax.Array, train: bool = False) -> jax.Array:
        """Features [B, 8 width] of network images [B, S, S, 3], of any size."""
        return self.encoder(image, train)

    def distribution(self, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation [B, latent] of the code, of `encode`'s features."""
        return self.fc_mu(encoded), jnp.exp(self.fc_var(encoded) / 2.0)

    def split(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The interior and exterior halves [B, latent / 2] of a code."""
        return code[:, : self.latent // 2], code[:, self.latent // 2 :]

    def texture(self, interior: jax.Array, train: bool = False) -> jax.Array:
        """Neural textures [B, T, T, C] of interior codes."""
        return self.decoder(interior, train)

    def additive(self, exterior: jax.Array, face: jax.Array, train: bool = False) -> jax.Array:
        """Additive features [B, S, S, C] of exterior codes and the face's features."""
        return self.decoder_exterior(exterior, face, train)

    def render(self, features: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Network image [B, S, S, 3] and probability of the foreground [B, S, S, 1].

        Args:
          features: [B, S, S, 2 C], face and additive.
          train: see the class.
        """
        out = self.texture2image(features, train)
        return out[..., 1:], nn.sigmoid(out[..., :1])

    def interior_to_image(
        self, texture: jax.Array, exterior: jax.Array, uv: jax.Array, train: bool = False
    ) -> dict[str, jax.Array]:
        """A kept texture in another pose; the entries of `Generated` from the face features on.

        Args:
          texture: [B, T, T, C].
          exterior: [B, latent / 2].
          uv: UV maps.
          train: see the class.
        """
        face, mask = sample_texture(texture, uv, self.mask_value)
        additive = self.additive(exterior, face, train)
        full = jnp.concatenate([face, additive], axis=-1)
        image, segmentation = self.render(full, train)
        return dict(
            face_featureimage=face, mask_uv=mask, additive_featureimage=additive,
            full_featureimage=full, segmentation_predicted=segmentation, image_out=image,
        )  # fmt: skip

    def latent_to_image(
        self, code: jax.Array, uv: jax.Array, train: bool = False
    ) -> dict[str, jax.Array]:
        """An image of codes [B, latent]; the entries of `Generated` from the code on."""
        interior, exterior = self.split(code)
        texture = self.texture(interior, train)
        return dict(
            style_latent=code, latent_interior=interior, latent_exterior=exterior,
            texture_person=texture, **self.interior_to_image(texture, exterior, uv, train),
        )  # fmt: skip

    def __call__(
        self,
        image: jax.Array,
        uv: jax.Array,
        noise: jax.Array,
        multiplier: float | jax.Array = 1.0,
        train: bool = False,
    ) -> Generated:
        """Encodes an image and renders its code into a UV map.

        Args:
          image: [B, S, S, 3] network images.
          uv: UV maps.
          noise: [B, latent] standard normal.
          multiplier: of the posterior's deviation; 0 renders the mean.
          train: see the class.
        """
        encoded = self.encode(image, train)
        mu, std = self.distribution(encoded)
        code = sample_style(mu, std, noise, multiplier)
        return Generated(
            image_encoded=encoded, style_latent_mu=mu, style_latent_std=std,
            **self.latent_to_image(code, uv, train),
        )  # fmt: skip


def generator_inputs(net: Generator, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of image, UV map and noise."""
    side = (batch_size, net.image_size, net.image_size)
    shapes = ((*side, 3), (*side, 2), (batch_size, net.latent))
    return tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)


def init_generator(net: Generator, seed: int) -> dict[str, Any]:
    """Untrained {'params', 'batch_stats'} as numpy arrays, drawn as PyTorch's layers draw them."""
    inputs = generator_inputs(net, 1)
    return {
        "params": init_torch(net.init, seed, *inputs),
        "batch_stats": initial_batch_stats(net.init, *inputs),
    }
