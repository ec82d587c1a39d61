"""People: age, sex, ancestry, and heads that go with them.

The distributions below are those that the model's statistics were computed from
(`data_prep/build_head.py`). Its file holds the linear regression of the identity coefficients on
the attributes' features; what the attributes leave open is normal. Over the whole population every
coefficient has mean 0 and variance 1, and coefficients are uncorrelated, as in any other model.
"""

import dataclasses
import functools

import numpy as np

from facejax.morphable.makehuman.file import NUM_ID, read_head

ANCESTRIES = ("african", "asian", "caucasian")  # of MakeHuman's targets
FEATURES = ("masculinity", "youth", "old_age", "african", "asian")
AGE_YEARS = (18.0, 80.0)
_AGE_BETA = (1.3, 1.7)  # of the share of the way between the limits: 45 years on average, sd 15
_FEMALE, _MALE, _SEX_STD = 0.12, 0.88, 0.12
_DIRICHLET = 0.7  # below 1: most people are near one ancestry, mixes are not rare
# MakeHuman's ages: child 10, young 25, old 90 years; the child's share is held low, since its
# target also has a child's proportions
_YOUNG, _OLD = 25.0, 90.0
_CHILD_SHARE = 0.6 / 15.0  # per year below 25


@dataclasses.dataclass(frozen=True)
class People:
    """Random people, numpy.

    Attributes:
      age_years: [n] float32, 18 to 80.
      masculinity: [n] float32 in [0, 1]: 0 female, 1 male.
      ancestry: [n, 3] float32, shares of `ANCESTRIES`; sums to 1.
      id: [n, D_id] float32, identity coefficients of `load_morphable('makehuman')`.
    """

    age_years: np.ndarray
    masculinity: np.ndarray
    ancestry: np.ndarray
    id: np.ndarray


def sample_people(
    rng: np.random.Generator, n: int, num_id: int = NUM_ID, id_scale: float = 1.0
) -> People:
    """Draws people; a pure function of the generator's state.

    Args:
      rng: numpy generator.
      n: how many.
      num_id: identity coefficients wanted, as of `load_morphable('makehuman', num_id=...)`.
      id_scale: factor on the coefficients; 0 gives the mean identity.

    Raises:
      ValueError: more coefficients than there are, or fewer than none.
    """
    age_years, masculinity, ancestry = sample_attributes(rng, n)
    identity = sample_identity(rng, age_years, masculinity, ancestry, num_id)
    return People(age_years, masculinity, ancestry, np.float32(id_scale) * identity)


def sample_attributes(
    rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ages [n] years, masculinity [n] and ancestry [n, 3], float32; see `People`."""
    low, high = AGE_YEARS
    age_years = low + (high - low) * rng.beta(*_AGE_BETA, n)
    middle = np.where(rng.random(n) < 0.5, _FEMALE, _MALE)
    masculinity = np.clip(middle + _SEX_STD * rng.standard_normal(n), 0, 1)
    ancestry = rng.dirichlet([_DIRICHLET] * len(ANCESTRIES), n)
    return tuple(np.asarray(a, np.float32) for a in (age_years, masculinity, ancestry))


def sample_identity(
    rng: np.random.Generator,
    age_years: np.ndarray,
    masculinity: np.ndarray,
    ancestry: np.ndarray,
    num_id: int = NUM_ID,
) -> np.ndarray:
    """Identity coefficients of people of whom age, sex and ancestry are known.

    Args:
      rng: numpy generator.
      age_years, masculinity, ancestry: [n], [n], [n, 3]; see `People`.
      num_id: see `sample_people`.

    Returns:
      [n, D_id] float32.

    Raises:
      ValueError: see `sample_people`.
    """
    mean, weights, root = _regression()
    if not 0 <= num_id <= len(weights):
        raise ValueError(f"found num_id={num_id}, wanted 0..{len(weights)}")
    x = features(age_years, masculinity, ancestry) - mean
    known = x @ weights.T
    noise = rng.standard_normal((len(x), len(weights)))
    return (known + noise @ root)[:, :num_id].astype(np.float32)


@functools.cache
def _regression() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of the features, weights [D_id, F], and the root of the covariance that is left."""
    head = read_head()
    weights = head["attribute_weights"].astype(np.float64)
    left = np.eye(len(weights)) - weights @ head["attribute_covariance"] @ weights.T
    variance, directions = np.linalg.eigh(left)
    root = directions * np.sqrt(np.maximum(variance, 0)) @ directions.T  # symmetric: no free signs
    return head["attribute_mean"], weights, root


def age_shares(age_years: np.ndarray) -> dict[str, np.ndarray]:
    """Shares [n] of MakeHuman's age targets 'child', 'young' and 'old'; they sum to 1."""
    age = np.asarray(age_years, np.float64)
    child = np.maximum(0, _YOUNG - age) * _CHILD_SHARE
    old = np.maximum(0, (age - _YOUNG) / (_OLD - _YOUNG))
    return dict(child=child, young=1 - child - old, old=old)


def features(age_years: np.ndarray, masculinity: np.ndarray, ancestry: np.ndarray) -> np.ndarray:
    """What the regression sees of people, [n, F] in the order of `FEATURES`, each in [0, 1]."""
    shares, ancestry = age_shares(age_years), np.asarray(ancestry, np.float64)
    columns = (masculinity, shares["child"], shares["old"], ancestry[:, 0], ancestry[:, 1])
    return np.stack([np.asarray(c, np.float64) for c in columns], axis=1)
