"""Texture lookup."""

import functools

import jax
import jax.numpy as jnp

from facejax.render import platform
from facejax.render.platform import live, map_images, pin, planes, take

_WRAPS = {"clamp": (False, False), "repeat": (True, True), "repeat_u": (True, False)}


def texture(tex: jax.Array, uv: jax.Array, *, wrap: str = "clamp") -> jax.Array:
    """Bilinear texture values at UV coordinates.

    Texel (row r, column c) has its centre at u = (c + .5) / Wt, v = (r + .5) / Ht: v runs DOWN,
    row 0 is v = 0. Differentiable in the texture and in uv.

    Args:
      tex: [..., Ht, Wt, C] float32.
      uv: [..., H, W, 2]; batch dims broadcast against those of `tex`.
      wrap: 'clamp' repeats the border texels, 'repeat' tiles, 'repeat_u' tiles in u only (layouts
        around a cylinder).

    Returns:
      [..., H, W, C].

    Raises:
      ValueError: for an unknown `wrap`.
    """
    if wrap not in _WRAPS:
        raise ValueError(f"wrap is {wrap!r}; use one of {sorted(_WRAPS)}.")
    tex, uv = jnp.asarray(tex, jnp.float32), jnp.asarray(uv, jnp.float32)
    return _texture(tex, uv, wrap=wrap, cpu=platform.on_cpu())


@functools.partial(jax.jit, static_argnames=("wrap", "cpu"))
def _texture(tex, uv, *, wrap, cpu):
    def image(tex, uv):
        u, v = planes(uv)
        return jnp.stack(texture_planes(tex, u, v, wrap, cpu), axis=-1)

    return map_images(image, (tex, uv), (3, 3), cpu)


def _taps(x, length, repeat):
    """The two texels around x (in texels, centres at integers) and the weight of the second."""
    low = jnp.floor(x)
    t = x - low
    low = low.astype(jnp.int32)
    if repeat:
        return low % length, (low + 1) % length, t
    return jnp.clip(low, 0, length - 1), jnp.clip(low + 1, 0, length - 1), t


def texture_planes(tex: jax.Array, u: jax.Array, v: jax.Array, wrap: str, cpu: bool) -> list:
    """The core: texture [Ht, Wt, C], planes u and v [H, W] -> C planes [H, W]."""
    height, width, channels = tex.shape
    repeat_u, repeat_v = _WRAPS[wrap]
    flag = live(u, cpu)

    def taps():
        c0, c1, tu = _taps(u.reshape(-1) * width - 0.5, width, repeat_u)
        r0, r1, tv = _taps(v.reshape(-1) * height - 0.5, height, repeat_v)
        rows = (r0 * width, r1 * width)
        return [r + c for r in rows for c in (c0, c1)], tu, tv

    (i00, i01, i10, i11), tu, tv = pin(flag, taps)

    def one(plane):
        top = take(plane, i00) * (1 - tu) + take(plane, i01) * tu
        bottom = take(plane, i10) * (1 - tu) + take(plane, i11) * tu
        return (top * (1 - tv) + bottom * tv).reshape(u.shape)

    flat = pin(flag, lambda: [tex[..., c].reshape(-1) for c in range(channels)])
    return [pin(flag, functools.partial(one, plane)) for plane in flat]
