"""The generator as a differentiable function, and latents of given maps.

The fitting utility of the code of arXiv 1710.10196 and 1909.02215, on `facejax.train.inversion`.
"""

import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from facejax.data.source import check_indices
from facejax.host.arrays import describe_array, read_npy, read_npz
from facejax.host.files import atomic_path
from facejax.io.images import image_grid, to_uint8, write_image
from facejax.io.plots import line_plots
from facejax.systems.tbgan.analysis import label_rows
from facejax.systems.tbgan.gallery import Gallery
from facejax.systems.tbgan.generate import gallery_of
from facejax.systems.tbgan.networks import generate
from facejax.train import inversion
from facejax.train.runs import Run


def make_sampler(run: Run) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The generator as a pure function that can be differentiated, jitted and mapped.

    `jax.grad(lambda z: loss(sampler(z, labels)))(latents)` is how latents are fitted to anything
    that can be computed from maps: pictures, landmarks, the score of another network.

    Args:
      run: a trained or imported one.

    Returns:
      sampler(latents [N, D], labels [N, K]) -> maps [N, r, r, C] in network units. Labels are
      probabilities (or any scores); their scale is applied inside. K may be 0.
    """
    net, gallery = run.system.net, gallery_of(run)
    scale, (resolution, alpha) = gallery.label_scale, gallery.stage

    def sampler(latents: jax.Array, labels: jax.Array) -> jax.Array:
        return generate(net, resolution, run.params["gen"], latents, labels * scale, alpha)

    return sampler


def fit_latents(
    run: Run,
    targets: np.ndarray,
    labels: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    steps: int = inversion.STEPS,
    rates: Sequence[float] = inversion.RATES,
    seed: int = 1000,
) -> inversion.Fit:
    """Inverts the generator: the latent of every face, each from a start of its own.

    Args:
      run: a trained or imported one.
      targets: [N, r, r, C] network channels at the resolution of the run.
      labels: [N, K] probabilities; they stay fixed.
      mask: [r, r] texels that count; by default the layout of the data.
      steps: per rate.
      rates: learning rates, one after the other.
      seed: of the starting latents.

    Returns:
      Latents, maps ('samples') and the loss curve.

    Raises:
      ValueError: targets or labels of another shape, no steps or no rates.
    """
    gallery = gallery_of(run)
    resolution, _ = gallery.stage
    targets = np.asarray(targets, np.float32)
    shape = (len(targets), resolution, resolution, run.system.net.num_channels)
    if targets.shape != shape or labels.shape != (len(targets), run.system.net.label_size):
        raise ValueError(
            f"found maps {targets.shape} and labels {labels.shape}, this run makes maps "
            f"{shape} from labels {(len(targets), run.system.net.label_size)}"
        )
    if mask is None and gallery.source.codec is not None:
        mask = gallery.source.codec.mask(resolution)
    weight = None if mask is None else np.float32(mask).reshape(1, resolution, resolution, 1)
    sampler = make_sampler(run)
    return inversion.fit_latents(
        lambda latents: sampler(latents, labels),
        inversion.normal_starts(len(targets), (run.system.net.latents,), seed), targets,
        weight=weight, steps=steps, rates=rates,
    )  # fmt: skip


def write_fit(
    run: Run,
    out: str | pathlib.Path,
    maps: str | pathlib.Path | None = None,
    index: Sequence[int] = (0,),
    *,
    expression: str | None = None,
    steps: int = inversion.STEPS,
    seed: int = 1000,
) -> list[pathlib.Path]:
    """Fits latents and writes fit.npz, fit.png (targets above results) and loss.png.

    Args:
      run: a trained or imported one.
      out: folder; made if missing.
      maps: .npz of `Gallery.write_face` or .npy [N, r, r, C]; None takes examples of the data.
      index: which examples.
      expression: label of all fits; by default that of the example, or none where maps are given.
      steps: per learning rate.
      seed: of the starts.

    Returns:
      The files.

    Raises:
      ValueError: a file that holds no maps, or maps of another shape.
    """
    gallery, out = gallery_of(run), pathlib.Path(out)
    resolution, _ = gallery.stage
    if maps is not None:
        targets = _read_maps(pathlib.Path(maps))
        labels = np.zeros((len(targets), gallery.net.label_size), np.float32)
    else:
        source = gallery.source
        batch = source.batch(check_indices(index, len(source)), resolution=resolution)
        targets = np.asarray(batch["maps"])
        labels = np.asarray(batch["labels"])
    if expression is not None:
        labels = label_rows(gallery, len(targets), expression)
    fit = fit_latents(run, targets, labels, steps=steps, seed=seed)
    with atomic_path(out / "fit.npz") as path:
        np.savez_compressed(
            path, latents=fit.latents, labels=labels, network=fit.samples, losses=fit.losses
        )
    tiles = [picture for m in (targets, fit.samples) for picture in _rows_of(gallery, m)]
    number = np.arange(len(fit.losses))
    curves = {f"face {k}": (number, fit.losses[:, k]) for k in range(len(targets))}
    plot = line_plots({"half the squared error": curves}, "step", log_y=True)
    return [
        out / "fit.npz",
        write_image(out / "fit.png", to_uint8(image_grid(tiles, len(targets)))),
        write_image(out / "loss.png", plot),
    ]


def _rows_of(gallery: Gallery, maps: np.ndarray) -> list[np.ndarray]:
    return [picture for modality in gallery.map_pictures(maps) for picture in modality]


def _read_maps(path: pathlib.Path) -> np.ndarray:
    """[N, r, r, C] of a file; the shape is checked by the fit."""
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (".npz", ".npy"):
        raise ValueError(f"{path}: wanted an .npz of `facejax generate`, or an .npy [N, r, r, C]")
    if suffix == ".npz":
        arrays = read_npz(path)
        if "network" not in arrays:
            raise ValueError(f"{path}: wanted an array 'network', found {sorted(arrays)}")
        found = arrays["network"]
    else:
        found = read_npy(path)
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise ValueError(f"{path}: wanted finite numbers, found {describe_array(found)}")
    return found[None] if found.ndim == 3 else found
