"""Seven named expressions as mixes of blendshapes, and random coefficients for plausible faces."""

import re

import numpy as np

from facejax.morphable.model import Coefficients, MorphableModel

# weights of ARKit-style blendshapes; a name stands for both sides (mouthSmile: mouthSmile_L and
# _R). Found by what classifiers that were trained on photographs see in rendered heads.
PRESETS = {
    "neutral": {},
    "happy": {
        "mouthSmile": 1.0, "cheekSquint": 1.0, "mouthUpperUp": 0.6, "mouthLowerDown": 0.4,
        "jawOpen": 0.12, "mouthDimple": 0.3, "eyeSquint": 0.3,
    },
    "sad": {
        "mouthFrown": 1.0, "browInnerUp": 1.0, "browDown": 0.25, "mouthShrugLower": 0.6,
        "eyeSquint": 0.35, "eyeBlink": 0.2,
    },
    "surprise": {"jawOpen": 0.8, "browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 0.8},
    "fear": {
        "jawOpen": 0.22, "browInnerUp": 1.0, "browOuterUp": 0.4, "browDown": 0.3, "eyeWide": 1.0,
        "mouthStretch": 0.9, "mouthLowerDown": 0.5, "mouthFrown": 0.2,
    },
    "disgust": {
        "noseSneer": 1.0, "mouthUpperUp": 1.0, "cheekSquint": 1.0, "eyeSquint": 0.8,
        "browDown": 0.6, "mouthFrown": 0.5, "jawOpen": 0.12,
    },
    "anger": {  # with pressed lips it is taken for sadness
        "browDown": 1.0, "noseSneer": 0.8, "eyeWide": 0.2, "jawOpen": 0.45, "mouthUpperUp": 0.7,
        "mouthLowerDown": 0.8, "mouthStretch": 0.5,
    },
}  # fmt: skip
# mixes that read better on the simpler blendshapes of a model, by its name: an open mouth with
# lowered brows is fear on the procedural head
_OWN = {
    "procedural": {
        "disgust": {
            "noseSneer": 1.0, "mouthUpperUp": 0.6, "cheekSquint": 0.9, "eyeSquint": 0.8,
            "browDown": 0.45, "mouthShrugLower": 0.5, "mouthFrown": 0.4,
        },
        "anger": {
            "browDown": 1.0, "eyeSquint": 0.3, "eyeWide": 0.3, "noseSneer": 0.6,
            "mouthUpperUp": 0.35, "mouthLowerDown": 0.45, "mouthStretch": 0.35, "jawOpen": 0.10,
        },
    },
}  # fmt: skip
_SIDE = re.compile(r"(_L|_R|Left|Right)$")
# shapes that are mixed in at random beside a preset; they fold nothing at the weights drawn
_DETAILS = (
    "jawOpen", "mouthSmile", "mouthFrown", "mouthPucker", "mouthFunnel", "mouthStretch",
    "mouthPress", "mouthShrugLower", "cheekPuff", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide",
    "browDown", "browInnerUp", "browOuterUp", "noseSneer", "jawLeft", "jawRight",
)  # fmt: skip


def _mixes(model: MorphableModel) -> dict[str, dict[str, float]]:
    """`PRESETS`, with what a model has of its own."""
    return PRESETS | _OWN.get(model.topology.name, {})


def _members(model: MorphableModel, name: str) -> list[int]:
    """Numbers of the expressions called `name`, or `name` with a side."""
    index = model.topology.exp_index
    if name in index:
        return [index[name]]
    return [i for n, i in index.items() if _SIDE.sub("", n) == name]


def expression_presets(model: MorphableModel) -> tuple[tuple[str, ...], np.ndarray]:
    """The expressions neutral, happy, sad, surprise, fear, disgust and anger as blendshape weights.

    Args:
      model: a model with ARKit-style expression names ('mouthSmile_L', 'mouthSmileLeft', ...).

    Returns:
      names [7] and weights [7, D_exp] float32 in [0, 1]; row 0 is zero.

    Raises:
      ValueError: the model lacks blendshapes that a preset is made of.
    """
    weights = np.zeros((len(PRESETS), model.num_exp), np.float32)
    missing = set()
    for row, mix in enumerate(_mixes(model).values()):
        for name, weight in mix.items():
            members = _members(model, name)
            weights[row, members] = weight
            if not members:
                missing.add(name)
    if missing:
        raise ValueError(
            f"found no blendshapes {sorted(missing)} among the {model.num_exp} expressions of the "
            f"model {model.topology.name!r}, wanted ARKit-style names; use the 'makehuman', "
            "'procedural' or 'ict' model, or give expression coefficients of your own"
        )
    return tuple(PRESETS), weights


def sample_coefficients(
    model: MorphableModel,
    rng: np.random.Generator,
    num: int,
    id_scale: float = 1.0,
    exp_scale: float = 1.0,
    alb_scale: float = 1.0,
) -> Coefficients:
    """Coefficients of random plausible faces, numpy float32.

    Identity and albedo are normal, clipped at 2.5 standard deviations. Expressions of blendshape
    models are, in equal parts, neutral, a preset of random strength, and up to three blendshapes
    (both sides alike, or one side weaker); other models get a normal distribution.

    Args:
      model: the face model.
      rng: numpy generator; the same state gives the same faces.
      num: how many.
      id_scale: factor on the identity coefficients; 0 gives the mean identity.
      exp_scale: factor on the expression coefficients, in [0, 1] for blendshapes; 0 gives neutral.
      alb_scale: factor on the albedo coefficients.

    Returns:
      id [num, D_id], exp [num, D_exp], alb [num, D_alb].
    """

    def normal(dim, scale):
        draw = np.clip(rng.standard_normal((num, dim)), -2.5, 2.5)
        return (scale * draw).astype(np.float32)

    identity, albedo = normal(model.num_id, id_scale), normal(model.num_alb, alb_scale)
    if not model.topology.exp_names:
        return Coefficients(identity, normal(model.num_exp, exp_scale), albedo)
    expression = (
        np.stack([_random_expression(model, rng) for _ in range(num)])
        if num
        else (np.zeros((0, model.num_exp), np.float32))
    )
    return Coefficients(identity, np.float32(exp_scale) * expression, albedo)


def _random_expression(model, rng):
    weights = np.zeros(model.num_exp, np.float32)
    kind, strength = rng.integers(3), rng.uniform(0.3, 1.0)
    if kind == 1:
        mix = rng.choice(list(PRESETS)[1:])
        for name, weight in _mixes(model)[mix].items():
            weights[_members(model, name)] = strength * weight
    elif kind == 2:
        for name in rng.choice(_DETAILS, size=rng.integers(1, 4), replace=False):
            for member in _members(model, name):
                weights[member] = strength * rng.uniform(0.4, 0.8)
    return weights
