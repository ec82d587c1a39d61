"""Who wears what: priors over hair and things worn, given age, sex and ancestry. Host, numpy.

Plausible, not strict: every style can occur on everybody, none has more than 15 % of a mixed
population, and colours follow skin and age with a wide spread. The tables are our own choices;
greying follows the onset at 35-45 +- 10 years reported for mixed populations (Panhard et al. 2012).
"""

import numpy as np

from facejax.attachments.beards import BEARDS
from facejax.attachments.clothes import CLOTHES
from facejax.attachments.earrings import EARRING_NAMES
from facejax.attachments.glasses import GLASSES
from facejax.attachments.hairstyles import STYLES
from facejax.attachments.hats import HATS
from facejax.attachments.head import smoothstep
from facejax.attachments.worn import Worn, make_worn

# name: share among women, among men; factors for African, Asian, Caucasian ancestry; factor at 75
_HAIR = {
    "bald": (0.010, 0.080, 1.3, 0.6, 1.0, 1.6),
    "buzz": (0.020, 0.085, 1.6, 0.9, 0.8, 0.7),
    "crop": (0.050, 0.110, 0.6, 1.2, 1.0, 1.0),
    "side part": (0.030, 0.110, 0.3, 1.2, 1.1, 1.1),
    "slicked back": (0.025, 0.075, 0.3, 1.0, 1.0, 1.0),
    "quiff": (0.010, 0.075, 0.3, 1.1, 1.0, 0.4),
    "short curly": (0.050, 0.075, 2.2, 0.4, 0.9, 1.0),
    "afro": (0.055, 0.045, 3.5, 0.05, 0.15, 0.6),
    "receding": (0.002, 0.080, 0.8, 0.7, 1.1, 2.0),
    "horseshoe": (0.001, 0.060, 0.8, 0.6, 1.1, 2.2),
    "messy": (0.060, 0.100, 0.3, 1.0, 1.1, 0.6),
    "bob": (0.130, 0.010, 0.5, 1.2, 1.0, 1.3),
    "shoulder length": (0.130, 0.020, 0.5, 1.1, 1.0, 1.0),
    "long straight": (0.120, 0.015, 0.3, 1.4, 1.0, 0.5),
    "long wavy": (0.110, 0.015, 0.4, 0.8, 1.1, 0.6),
    "long curly": (0.090, 0.015, 2.0, 0.3, 0.8, 0.7),
    "ponytail": (0.100, 0.020, 0.8, 1.1, 1.0, 0.7),
    "bun": (0.090, 0.020, 1.0, 1.0, 1.0, 1.2),
}
_ANYTHING = 0.06  # share of a uniform choice
_BALDING = ("receding", "horseshoe", "bald")


def _choices(rng, weights):
    """[n] a column for each row of weights [n, K]."""
    total = np.cumsum(weights, axis=1)
    return (rng.random((len(weights), 1)) * total[:, -1:] > total).sum(axis=1).astype(np.int32)


def _style_weights(age_years, masculinity, ancestry):
    table = np.array([_HAIR[s.name] for s in STYLES])
    man = smoothstep(masculinity, 0.3, 0.7)[:, None]
    share = (1 - man) * table[:, 0] + man * table[:, 1]
    share = share * (ancestry @ table[:, 2:5].T)
    old = np.clip((age_years - 30) / 45, 0, 1)[:, None]
    share = share * table[:, 5] ** old
    names = [s.name for s in STYLES]
    young = smoothstep(age_years, 20, 48)
    for name in _BALDING:
        share[:, names.index(name)] *= 0.15 + 0.85 * young
    share = share / share.sum(axis=1, keepdims=True)
    return (1 - _ANYTHING) * share + _ANYTHING / len(STYLES)


def sample_hair(
    rng: np.random.Generator,
    age_years: np.ndarray,
    masculinity: np.ndarray,
    ancestry: np.ndarray,
    skin_melanin: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Hairstyle and hair colour of n people; a pure function of rng.

    Args:
      rng: of all draws.
      age_years: [n]; masculinity: [n] in [0, 1].
      ancestry: [n, 3] african, asian, caucasian; sums to 1.
      skin_melanin: [n] in [0, 1] relative to what the ancestry suggests is mixed in, or None.

    Returns:
      Values for `make_worn`, each [n]: hair, parting, fringe, length, volume, curl, receding,
      melanin, redness, grey, highlights, dye [n, 3], dyed.
    """
    age_years, masculinity, ancestry = (
        np.asarray(a, float) for a in (age_years, masculinity, ancestry)
    )
    n = len(age_years)
    african, asian, caucasian = ancestry.T
    hair = _choices(rng, _style_weights(age_years, masculinity, ancestry))
    fringed = rng.random(n) < 0.45
    dark = 0.92 * african + 0.88 * asian + 0.52 * caucasian
    spread = 0.05 + 0.17 * caucasian**2
    if skin_melanin is not None:
        dark = dark + 0.25 * caucasian * (np.asarray(skin_melanin) - 0.3)
    melanin = np.clip(dark + spread * rng.normal(size=n), 0, 1)
    red = (rng.random(n) < 0.10 * caucasian + 0.01) * rng.uniform(0.3, 0.9, n)
    redness = np.clip(red + 0.08 * rng.random(n), 0, 1)
    onset = rng.normal(46 + 4 * asian + 4 * african, 10)
    grey = np.clip(1 / (1 + np.exp(-(age_years - onset - 8) / 6)) - 0.03, 0, 1)
    man = smoothstep(masculinity, 0.3, 0.7)
    dyes = rng.random(n) < 0.14 * (1 - man) + 0.02
    grey = np.where(dyes | (rng.random(n) < 0.3 * (1 - man)), 0.1 * grey, grey)
    vivid = dyes & (rng.random(n) < 0.25)
    melanin = np.where(dyes & ~vivid, rng.uniform(0.05, 0.9, n), melanin)
    loss = man * smoothstep(age_years + rng.normal(0, 16, n), 32, 85)
    wavy = np.clip(0.75 * african + 0.2 * caucasian * rng.random(n) ** 2, 0, 1)
    return dict(
        hair=hair,
        parting=np.clip(
            rng.choice([-1, 0, 1], n, p=[0.38, 0.24, 0.38]) + rng.normal(0, 0.2, n), -1, 1
        ),
        fringe=np.where(fringed, rng.uniform(0.4, 1.0, n), 0.15 * rng.random(n)),
        length=rng.uniform(0.78, 1.0, n),
        volume=np.clip(rng.normal(0.1, 0.35, n), -0.6, 1),
        curl=np.clip(wavy * rng.uniform(0.2, 1.0, n), 0, 1) * (rng.random(n) < 0.7),
        receding=np.clip(0.3 * loss * rng.random(n) ** 0.7, 0, 1),
        melanin=melanin,
        redness=redness,
        grey=grey,
        highlights=rng.random(n) ** 2 * (0.25 + 0.75 * (1 - man)),
        dye=rng.uniform(0.1, 0.8, (n, 3)),
        dyed=np.where(vivid, rng.uniform(0.4, 0.9, n), 0.0),
    )


def sample_worn(
    rng: np.random.Generator,
    age_years: np.ndarray,
    masculinity: np.ndarray,
    ancestry: np.ndarray,
    skin_melanin: np.ndarray | None = None,
    scalp: np.ndarray | None = None,
) -> Worn:
    """Hair and everything else that n people wear; a pure function of rng.

    Glasses are worn by 18 % (young) to 45 % (old), one pair in six being sunglasses; hats by 7 %;
    beards by 45 % of men; earrings by half of the women; clothes by everybody.

    Args:
      rng: of all draws.
      age_years, masculinity, ancestry, skin_melanin: as in `sample_hair`.
      scalp: [n, 3] sRGB of the skin, or None for a middle tone.

    Returns:
      `Worn` of numpy arrays, [n].
    """
    age_years, masculinity = np.asarray(age_years, float), np.asarray(masculinity, float)
    n = len(age_years)
    values = sample_hair(rng, age_years, masculinity, ancestry, skin_melanin)
    man = smoothstep(masculinity, 0.35, 0.65)

    def some(share, styles):
        """0, or a style of a table with the given probability."""
        return np.where(rng.random(n) < share, rng.integers(1, len(styles), n), 0)

    values["beard"] = some(0.45 * man, BEARDS)
    values["beard_length"] = rng.uniform(0.6, 1.0, n)
    values["beard_melanin"] = np.clip(values["melanin"] - 0.05 + 0.06 * rng.normal(size=n), 0, 1)
    values["beard_grey"] = np.clip(values["grey"] * rng.uniform(0.8, 1.4, n), 0, 1)
    values["glasses"] = some(0.18 + 0.27 * smoothstep(age_years, 30, 70), GLASSES)
    sun = rng.random(n) < 0.16
    values["tint"] = np.where(sun, rng.uniform(0.6, 1.0, n), 0.2 * rng.random(n))
    values["frame_color"] = _frame_colors(rng, n)
    lens = np.array([[0.04, 0.04, 0.05], [0.12, 0.08, 0.05], [0.05, 0.09, 0.08]])
    values["lens_color"] = lens[rng.integers(0, len(lens), n)] * rng.uniform(0.7, 1.6, (n, 1))
    values["hat"] = some(np.full(n, 0.07), HATS)
    values["hat_color"] = _cloth_colors(rng, n)
    values["earrings"] = some(0.05 + 0.45 * (1 - man), EARRING_NAMES)
    metals = np.array([[0.83, 0.69, 0.36], [0.80, 0.80, 0.82], [0.85, 0.62, 0.52]])
    values["metal_color"] = metals[rng.integers(0, len(metals), n)]
    values["clothes"] = rng.integers(1, len(CLOTHES), n)
    values["clothes_color"] = _cloth_colors(rng, n)
    own = rng.random((n, 1)) < 0.75
    values["collar_color"] = np.where(
        own, values["clothes_color"] * rng.uniform(0.85, 1.1, (n, 1)), _cloth_colors(rng, n)
    ).clip(0, 1)
    if scalp is not None:
        values["scalp"] = scalp
    return make_worn((n,), **values)


def _cloth_colors(rng, n):
    """[n, 3]: half of them greys, blues and browns, half anything, muted."""
    grey = rng.uniform(0.05, 0.92, (n, 1)) * np.ones(3)
    blue = rng.uniform(0.5, 1.1, (n, 1)) * np.array([0.20, 0.28, 0.45])
    brown = rng.uniform(0.5, 1.4, (n, 1)) * np.array([0.42, 0.32, 0.24])
    other = rng.uniform(0.08, 0.85, (n, 3))
    kind = rng.choice(4, n, p=[0.3, 0.15, 0.1, 0.45])
    return np.stack([grey, blue, brown, other])[kind, np.arange(n)].clip(0, 1)


def _frame_colors(rng, n):
    """[n, 3]: black, tortoise, silver, gold, or a colour."""
    kinds = np.array(
        [[0.04, 0.04, 0.05], [0.22, 0.12, 0.07], [0.62, 0.63, 0.65], [0.66, 0.52, 0.28]]
    )
    color = kinds[rng.choice(4, n, p=[0.45, 0.25, 0.18, 0.12])]
    other = rng.random((n, 1)) < 0.15
    return np.where(other, rng.uniform(0.05, 0.7, (n, 3)), color)
