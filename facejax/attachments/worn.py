"""What a head wears, as named coefficients."""

import dataclasses

import jax
import numpy as np
from flax import struct


@struct.dataclass
class Worn:
    """Coefficients of hair and things worn; a pytree of arrays, batch dims [...] lead in all.

    Numbers of styles are positions in `HAIR_NAMES`, `BEARD_NAMES`, `GLASSES_NAMES`, `HAT_NAMES`,
    `EARRING_NAMES`, `CLOTHES_NAMES`; 0 is bald, or nothing. Colours are sRGB in [0, 1].

    Attributes:
      hair: [...] int32.
      parting: [...] in [-1, 1]: on the subject's right, in the middle, on the left.
      fringe: [...] in [0, 1]: how many of the front strands fall over the forehead, to the brows,
        instead of being combed away; fewer where hair recedes.
      length: [...] in (0, 1]: share of the style's full length.
      volume: [...] in [-1, 1]: 0 as the style has it.
      curl: [...] in [0, 1]: on top of the style's own.
      receding: [...] in [0, 1]: 0 full, 0.2 bare temples, 1 sides and back only.
      melanin: [...] in [0, 1]: 0 light blond, 0.35 dark blond, 0.6 brown, 1 black.
      redness: [...] in [0, 1].
      grey: [...] in [0, 1]: share of grey strands.
      highlights: [...] in [0, 1]: lighter streaks.
      dye: [..., 3]; dyed: [...] in [0, 1], how far the colour is replaced by it.
      scalp: [..., 3], skin that shows through a buzz cut and at hairlines.
      beard: [...] int32.
      beard_length: [...] in (0, 1]: share of the style's full length.
      beard_melanin, beard_grey: [...] as those of the hair.
      glasses: [...] int32.
      tint: [...] in [0, 1]: below 0.5 clear lenses, which are left out (the renderer knows no
        transparency), from there on sunglasses.
      frame_color, lens_color: [..., 3].
      hat: [...] int32; hat_color: [..., 3].
      earrings: [...] int32; metal_color: [..., 3].
      clothes: [...] int32; clothes_color, collar_color: [..., 3].
    """

    hair: jax.Array
    parting: jax.Array
    fringe: jax.Array
    length: jax.Array
    volume: jax.Array
    curl: jax.Array
    receding: jax.Array
    melanin: jax.Array
    redness: jax.Array
    grey: jax.Array
    highlights: jax.Array
    dye: jax.Array
    dyed: jax.Array
    scalp: jax.Array
    beard: jax.Array
    beard_length: jax.Array
    beard_melanin: jax.Array
    beard_grey: jax.Array
    glasses: jax.Array
    tint: jax.Array
    frame_color: jax.Array
    lens_color: jax.Array
    hat: jax.Array
    hat_color: jax.Array
    earrings: jax.Array
    metal_color: jax.Array
    clothes: jax.Array
    clothes_color: jax.Array
    collar_color: jax.Array


NUMBERS = ("hair", "beard", "glasses", "hat", "earrings", "clothes")
COLORS = {
    "dye": (0.5, 0.2, 0.6), "scalp": (0.80, 0.62, 0.52), "frame_color": (0.06, 0.05, 0.05),
    "lens_color": (0.04, 0.04, 0.05), "hat_color": (0.15, 0.2, 0.35),
    "metal_color": (0.8, 0.68, 0.35), "clothes_color": (0.25, 0.32, 0.42),
    "collar_color": (0.23, 0.3, 0.4),
}  # fmt: skip
_SCALARS = {"length": 1.0, "melanin": 0.6, "beard_length": 1.0, "beard_melanin": 0.6}


def make_worn(shape: tuple[int, ...] = (), **values) -> Worn:
    """`Worn` of numpy arrays: nothing at all where no value is given.

    Args:
      shape: batch dims.
      **values: of some fields, broadcast to them.

    Raises:
      ValueError: a field that there is not.
    """
    fields = {field.name for field in dataclasses.fields(Worn)}
    if unknown := sorted(values.keys() - fields):
        raise ValueError(f"found {unknown}, wanted some of {sorted(fields)}")
    out = {}
    for name in fields:
        value = values.get(name, COLORS.get(name, _SCALARS.get(name, 0.0)))
        whole = (*shape, 3) if name in COLORS else shape
        dtype = np.int32 if name in NUMBERS else np.float32
        out[name] = np.broadcast_to(np.asarray(value, dtype), whole).copy()
    return Worn(**out)
