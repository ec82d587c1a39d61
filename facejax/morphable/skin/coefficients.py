"""The named coefficients of painted skin, and people drawn from a joint prior (numpy).

Nothing here is measured but what names a source: the prior is a plausible one, made so that tone,
hair, eyes, age and sex go together as they do among people, without any of it being certain.
"""

import dataclasses

import numpy as np
from flax import struct

from facejax.morphable.skin.spectra import ITA_DARKEST, ITA_LIGHTEST


def _coefficient(typical: float, low: float = 0.0, high: float = 1.0):
    return dataclasses.field(
        default=typical, metadata=dict(pytree_node=True, low=low, high=high, typical=typical)
    )


@struct.dataclass
class SkinPaint:
    """What one or many faces are painted from; a pytree of float32 [...], any common batch shape.

    All run from 0 (none) to 1 (as much as `paint` can) unless said otherwise; the defaults are a
    typical grown face. `SkinPaint.ranges()` lists lowest, highest and typical values.

    Attributes:
      melanin: tone, linear in the typology angle: 0 very light (66 degrees), 1 very dark (-56).
      blood: of the whole skin, logarithmic from 0.6 to 4.5 % of the dermis.
      carotene: yellowness, -1 to 1.
      redness: blood of cheeks, nose, ears and chin.
      mottle: blotches of both pigments.
      pores: relief of the skin, and its shade in the pores.
      oil: shine of forehead, nose and chin.
      under_eye: darkness under the eyes.
      freckles, age_spots, moles: how many and how dark.
      forehead_lines, eye_lines, fold_lines, neck_lines: depth of the lines of age: across the
        forehead and between the brows; crow's feet and under the eyes; from nose and mouth down;
        around the neck.
      lip_blood: red of the lips.
      lip_melanin: darkness of the lips.
      hair_melanin: of brows, lashes, beard and hair: 0 light blond, 1 black.
      hair_red: red pigment of the hair.
      hair_grey: 0 none, 1 white.
      brow_density, brow_thickness: of the brows.
      brow_arch, brow_height, brow_gap: their shape, -1 to 1 each, about the landmarks of the model.
      lashes: length and darkness.
      stubble: beard shadow.
      moustache, chin_beard, jaw_beard: short painted beard.
      scalp_hair: 0 bald, 1 dense; short, painted on the scalp.
      hairline: -1 low to 1 high.
      recession: of the hairline at the temples, and thinning at the crown.
      iris_melanin: 0 blue or grey, 0.5 hazel, 1 dark brown.
      iris_green: 0 blue, 1 green, where there is little melanin.
      iris_ring: darkness of the limbal ring.
      collarette: pigment around the pupil.
      pupil: 0 narrow, 1 wide.
      sclera_veins: blood vessels of the white of the eye.
      sclera_yellow: its yellowness.
      catchlight: a highlight painted into the albedo of the eyes, for renderers that have no
        specular light; leave 0 where there is one.
      teeth_yellow: 0 white, 1 yellow.
      makeup: lipstick, eye shadow, eyeliner, evened skin.
      makeup_hue: -1 brown to 1 pink.
    """

    melanin: np.ndarray = _coefficient(0.25)
    blood: np.ndarray = _coefficient(0.5)
    carotene: np.ndarray = _coefficient(0.0, -1.0)
    redness: np.ndarray = _coefficient(0.5)
    mottle: np.ndarray = _coefficient(0.5)
    pores: np.ndarray = _coefficient(0.5)
    oil: np.ndarray = _coefficient(0.5)
    under_eye: np.ndarray = _coefficient(0.4)
    freckles: np.ndarray = _coefficient(0.0)
    age_spots: np.ndarray = _coefficient(0.0)
    moles: np.ndarray = _coefficient(0.2)
    forehead_lines: np.ndarray = _coefficient(0.15)
    eye_lines: np.ndarray = _coefficient(0.15)
    fold_lines: np.ndarray = _coefficient(0.25)
    neck_lines: np.ndarray = _coefficient(0.2)
    lip_blood: np.ndarray = _coefficient(0.5)
    lip_melanin: np.ndarray = _coefficient(0.2)
    hair_melanin: np.ndarray = _coefficient(0.75)
    hair_red: np.ndarray = _coefficient(0.15)
    hair_grey: np.ndarray = _coefficient(0.0)
    brow_density: np.ndarray = _coefficient(0.6)
    brow_thickness: np.ndarray = _coefficient(0.5)
    brow_arch: np.ndarray = _coefficient(0.0, -1.0)
    brow_height: np.ndarray = _coefficient(0.0, -1.0)
    brow_gap: np.ndarray = _coefficient(0.0, -1.0)
    lashes: np.ndarray = _coefficient(0.5)
    stubble: np.ndarray = _coefficient(0.0)
    moustache: np.ndarray = _coefficient(0.0)
    chin_beard: np.ndarray = _coefficient(0.0)
    jaw_beard: np.ndarray = _coefficient(0.0)
    scalp_hair: np.ndarray = _coefficient(0.9)
    hairline: np.ndarray = _coefficient(0.0, -1.0)
    recession: np.ndarray = _coefficient(0.0)
    iris_melanin: np.ndarray = _coefficient(0.6)
    iris_green: np.ndarray = _coefficient(0.3)
    iris_ring: np.ndarray = _coefficient(0.5)
    collarette: np.ndarray = _coefficient(0.4)
    pupil: np.ndarray = _coefficient(0.4)
    sclera_veins: np.ndarray = _coefficient(0.3)
    sclera_yellow: np.ndarray = _coefficient(0.2)
    catchlight: np.ndarray = _coefficient(0.0)
    teeth_yellow: np.ndarray = _coefficient(0.3)
    makeup: np.ndarray = _coefficient(0.0)
    makeup_hue: np.ndarray = _coefficient(0.0, -1.0)

    @classmethod
    def ranges(cls) -> dict[str, tuple[float, float, float]]:
        """Name of each coefficient -> lowest, highest and typical value."""
        return {
            f.name: tuple(f.metadata[k] for k in ("low", "high", "typical"))
            for f in dataclasses.fields(cls)
        }


# Mean and standard deviation of the typology angle per ancestry (african, asian, caucasian),
# degrees: chosen by us inside the classes of Chardon et al. 1991, brown and dark for the first,
# intermediate to light for the others.
_ITA_MEAN, _ITA_STD = np.array([-24.0, 33.0, 45.0]), np.array([17.0, 9.0, 10.0])


def sample_skin(
    rng: np.random.Generator,
    age_years: np.ndarray,
    masculinity: np.ndarray,
    ancestry: np.ndarray,
) -> SkinPaint:
    """Skin of people, drawn given what is known of them.

    Tone comes from the mixture of ancestries with a spread of its own; colour of hair and eyes
    follows tone and ancestry loosely; lines, spots, grey hair and thinning come with age, each with
    its own delay per person; beard and thick brows with masculinity, make-up without it; freckles
    with light skin and red hair.

    Args:
      rng: the only source of randomness.
      age_years: [n], 18 to 80.
      masculinity: [n] in [0, 1].
      ancestry: [n, 3] shares (african, asian, caucasian), each row sums to 1.

    Returns:
      Coefficients [n], float32, inside their ranges. `catchlight` is 0.

    Raises:
      ValueError: shapes that do not belong together, or shares that do not sum to 1.
    """
    age, male, shares = (np.asarray(x, float) for x in (age_years, masculinity, ancestry))
    n = len(age) if age.ndim == 1 else -1
    if male.shape != (n,) or shares.shape != (n, 3):
        raise ValueError(
            f"found age_years {age.shape}, masculinity {male.shape} and ancestry {shares.shape}, "
            "wanted [n], [n] and [n, 3]; give one row per person"
        )
    if not np.allclose(shares.sum(axis=1), 1, atol=1e-3) or (shares < 0).any():
        raise ValueError(
            "found ancestry shares that are negative or do not sum to 1, wanted one row "
            "(african, asian, caucasian) per person; divide each row by its sum"
        )

    def normal(std=1.0):
        return std * rng.standard_normal(n)

    def chance(share, value):
        return np.where(rng.random(n) < share, value, 0.0)

    african, asian, caucasian = shares.T
    old = (age - 18) / 62 + normal(0.10)  # 0 at 18 years, 1 at 80: each ages at a pace of their own
    angle = shares @ _ITA_MEAN + np.sqrt(shares @ _ITA_STD**2) * normal()
    melanin = np.clip((ITA_LIGHTEST - angle) / (ITA_LIGHTEST - ITA_DARKEST), 0.02, 0.98)
    light = np.clip(1 - 2.2 * melanin, 0, 1)

    european = np.clip(1.5 * caucasian - 0.5, 0, 1)
    hair = 0.93 + normal(0.06) - european * (0.15 + 0.75 * rng.beta(1.1, 1.4, n)) * (0.4 + light)
    red = np.clip(0.12 + normal(0.10), 0, 1) + chance(0.09 * european, rng.uniform(0.4, 0.9, n))
    eyes = 0.92 + normal(0.07) - european * rng.beta(0.9, 1.0, n) * (0.5 + 0.7 * light)
    freckly = 0.06 + 0.5 * (red > 0.35) + 0.25 * light * caucasian
    made_up = chance(0.65 * (1 - male) ** 1.5, rng.uniform(0.15, 1.0, n))

    grown = np.clip(2.6 * male - 1.5, 0, 1)  # share of those who have a beard to shave
    style = rng.random(n)  # half shave clean; the rest let stubble, moustache, chin or all grow
    shadow = 0.12 + 0.13 * rng.random(n) + np.where(style > 0.5, rng.uniform(0.1, 0.75, n), 0)
    stubble = grown * shadow * (0.55 + 0.45 * np.clip(hair, 0, 1)) * (1 - 0.25 * asian)
    growth = np.where(style > 0.72, rng.uniform(0.35, 1.0, n), 0) * grown
    beards = {
        "moustache": growth * (rng.random(n) < 0.8),
        "chin_beard": growth * (rng.random(n) < 0.75),
        "jaw_beard": growth * (rng.random(n) < 0.5),
    }
    bald = male > 0.5
    thinning = np.where(bald, np.clip(1.3 * old * rng.random(n) ** 0.8 + normal(0.06), 0, 1), 0.05)
    shaved = chance(0.12 * bald, 1.0)
    values = dict(
        melanin=melanin,
        blood=0.60 + normal(0.14),
        carotene=0.25 * asian + normal(0.30),
        redness=0.40 + 0.15 * old + normal(0.17),
        mottle=0.35 + 0.30 * old + normal(0.15),
        pores=0.30 + 0.25 * old + 0.15 * male + normal(0.14),
        oil=0.5 + normal(0.2),
        under_eye=0.28 + 0.30 * old + normal(0.17),
        freckles=chance(freckly, rng.uniform(0.15, 1.0, n)) * np.clip(1.3 - 2.2 * melanin, 0, 1),
        age_spots=np.clip(1.5 * old - 0.5 + normal(0.18), 0, 1)
        * np.clip(1.4 - 1.2 * melanin, 0, 1),
        moles=rng.beta(1.2, 3.0, n),
        forehead_lines=1.05 * old - 0.05 + normal(0.14),
        eye_lines=1.10 * old - 0.08 + normal(0.12),
        fold_lines=0.12 + 0.85 * old + normal(0.12),
        neck_lines=0.10 + 0.80 * old + normal(0.14),
        lip_blood=0.55 - 0.25 * old + normal(0.17),
        lip_melanin=0.12 + 0.45 * african + 0.10 * male + normal(0.10),
        hair_melanin=hair,
        hair_red=red * (1 - 0.6 * np.clip(african + asian, 0, 1)),
        hair_grey=np.clip(1.8 * (old - 0.42 + normal(0.14)), 0, 1),
        brow_density=0.45 + 0.18 * male - 0.12 * old + normal(0.15),
        brow_thickness=0.28 + 0.34 * male + normal(0.15),
        brow_arch=0.30 - 0.60 * male + normal(0.38),
        brow_height=0.20 - 0.40 * male + normal(0.35),
        brow_gap=0.15 - 0.25 * male + normal(0.40),
        lashes=0.50 - 0.20 * male + 0.4 * made_up - 0.15 * old + normal(0.14),
        stubble=stubble,
        **beards,
        scalp_hair=np.where(shaved > 0, rng.uniform(0.0, 0.5, n), 0.92 + normal(0.05)),
        hairline=0.20 * male - 0.15 + normal(0.35),
        recession=thinning,
        iris_melanin=eyes,
        iris_green=rng.random(n),
        iris_ring=0.70 - 0.40 * old + normal(0.17),
        collarette=rng.random(n),
        pupil=0.55 - 0.30 * old + normal(0.18),
        sclera_veins=0.20 + 0.25 * old + normal(0.14),
        sclera_yellow=0.12 + 0.25 * old + 0.18 * melanin + normal(0.10),
        catchlight=np.zeros(n),
        teeth_yellow=0.22 + 0.38 * old + normal(0.15),
        makeup=made_up,
        makeup_hue=normal(0.5),
    )
    ranges = SkinPaint.ranges()
    return SkinPaint(
        **{k: np.clip(v, *ranges[k][:2]).astype(np.float32) for k, v in values.items()}
    )
