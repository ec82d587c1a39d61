"""Reconstruction and re-posing of held-out heads, measured against the true rendering."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.metrics.ssim import ssim
from facejax.morphable import MorphableModel, expression_presets, sample_coefficients
from facejax.nn.batching import padded_batches
from facejax.systems.varitex import data, images

_BATCH = 16


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio inside a mask, [B] dB.

    Args:
      a, b: [B, H, W, 3] in [0, 1].
      mask: [B, H, W, 1].
    """
    weight = mask.sum((1, 2, 3)) * a.shape[-1]
    error = ((a - b) ** 2 * mask).sum((1, 2, 3)) / np.maximum(weight, 1.0)
    return -10.0 * np.log10(np.maximum(error, 1e-10))


def overlap(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Intersection over union of the predicted and the true foreground, [B].

    Args:
      probability, mask: [B, H, W, 1]; the foreground is above a half.
    """
    a, b = probability > 0.5, mask > 0.5
    return (a & b).sum((1, 2, 3)) / np.maximum((a | b).sum((1, 2, 3)), 1)


def turned(drawn: dict[str, Any], yaw_deg: float, expression: np.ndarray) -> dict[str, Any]:
    """The same people and lights at another yaw, level, with another expression.

    Args:
      drawn: of `RenderedHeads.draw`.
      yaw_deg: degrees, see `geometry.rotation_of`.
      expression: [D_exp].
    """
    number = len(drawn["theta"])
    turn = data.rotation(np.array([0.0, yaw_deg, 0.0])).astype(np.float32)
    return {
        **drawn,
        "R": np.broadcast_to(turn, (number, 3, 3)),
        "exp": np.broadcast_to(expression, drawn["exp"].shape),
    }


def _other_expression(model: MorphableModel, rng: np.random.Generator) -> np.ndarray:
    """[D_exp]: surprise where expressions have names, else a random one."""
    if model.topology.exp_names:
        names, weights = expression_presets(model)
        return weights[names.index("surprise")]
    return sample_coefficients(model, rng, 1).exp[0]


def evaluate(system, trees) -> dict[str, Any]:
    """Figures of held-out people, each beside trivial ones; JSON-able.

    'reconstruction': codes at the mean of the posterior, rendered into the same pose. 'reposed':
    people seen from the front and neutral, rendered at other yaws and with another expression,
    against their true rendering. 'copy' is the encoded picture in place of the result, 'mean' the
    mean picture of the set. PSNR inside the true head.

    Args:
      system: the VariTexSystem.
      trees: {'gen', 'gen_stats'} of a checkpoint.

    Raises:
      ValueError: the run has no face model to render truth with.
    """
    c = system.config.evaluate
    if system.model is None:
        raise ValueError(
            "evaluation renders held-out heads, for which a face model is needed: set "
            "data.model_path"
        )
    source = data.held_out(system.config, system.model, c.num)
    tables = source.tables()
    encode = jax.jit(lambda image: system.encode(trees, image)[0])
    render = jax.jit(lambda code, uv: system.predict(trees, code, uv)[:2])
    rng = np.random.default_rng(c.seed)
    neutral = np.zeros(system.model.num_exp, np.float32)
    other = _other_expression(system.model, rng)
    poses = {
        "left": (c.yaw_deg, neutral), "right": (-c.yaw_deg, neutral), "expression": (0.0, other)
    }  # fmt: skip
    rows: dict[str, list] = {}

    def note(name, **values):
        for key, value in values.items():
            rows.setdefault(f"{name}/{key}", []).append(np.asarray(value))

    def pictures(drawn):
        made = source.make(tables, drawn)
        picture = np.asarray(images.from_network(made["image_in_encode"]))
        return picture, np.asarray(made["uv_rendered"]), np.asarray(made["segmentation_mask"])

    def compare(name, picture, found, probability, mask, copied, mean):
        found = np.clip(np.asarray(found), 0.0, 1.0)
        note(
            name,
            psnr=psnr(found, picture, mask),
            ssim=np.asarray(ssim(jnp.asarray(found), jnp.asarray(picture))),
            iou=overlap(np.asarray(probability), mask),
            psnr_copy=psnr(copied, picture, mask),
            psnr_mean=psnr(np.broadcast_to(mean, picture.shape), picture, mask),
        )

    total = []
    for (index,), real in padded_batches((np.arange(c.num),), _BATCH):
        total.append(pictures(source.draw(index))[0][:real])
    mean = np.concatenate(total).mean(axis=0, keepdims=True)
    for (index,), real in padded_batches((np.arange(c.num),), _BATCH):
        drawn = source.draw(index)
        picture, uv, mask = pictures(drawn)
        found, probability = render(encode(picture), uv)
        cut = [x[:real] for x in (picture, found, probability, mask)]
        compare("reconstruction", *cut, cut[0] * 0 + mean, mean)
        front, uv, mask = pictures(turned(drawn, 0.0, neutral))
        code = encode(front)
        found, probability = render(code, uv)
        compare("front", *(x[:real] for x in (front, found, probability, mask, front)), mean)
        for name, (yaw, expression) in poses.items():
            picture, uv, mask = pictures(turned(drawn, yaw, expression))
            found, probability = render(code, uv)
            cut = [x[:real] for x in (picture, found, probability, mask, front)]
            compare(f"reposed {name}", *cut, mean)
    out: dict[str, Any] = {"heads": c.num}
    for name, values in rows.items():
        part, key = name.split("/")
        if part == "reconstruction" and key == "psnr_copy":
            continue  # the copy of the input is the truth there
        out.setdefault(part, {})[key] = float(np.concatenate(values).mean())
    return out
