"""Faces from a trained TBGAN: what `facejax generate` does, as a function."""

import pathlib
from collections.abc import Sequence

import numpy as np

from facejax.io.images import write_image
from facejax.io.video import write_video
from facejax.systems.tbgan.gallery import Gallery
from facejax.train.runs import Run

MESH_FORMATS = ("glb", "obj", "ply")
_COLUMNS = 8  # of the contact sheet


def gallery_of(run: Run) -> Gallery:
    """The pictures and exports of a run, at the stage that its checkpoint had reached."""
    gallery = run.system.gallery
    gallery.stage = run.system.reached(run.meta)
    return gallery


def generate_faces(
    run: Run,
    out: str | pathlib.Path,
    *,
    num: int = 8,
    seed: int = 0,
    expression: str | None = None,
    formats: Sequence[str] = ("glb",),
    interpolate: bool = False,
    expression_sweep: bool = False,
    frames: int = 96,
    size: int = 256,
) -> list[pathlib.Path]:
    """Writes faces, and videos on request.

    Args:
      run: a trained or imported one.
      out: folder; made if missing.
      num: number of faces; face k depends only on (seed, k).
      seed: of the latents, >= 0.
      expression: name of a label for all faces; None walks through all of them.
      formats: of the meshes, from MESH_FORMATS.
      interpolate: also a video along a closed path through latents and labels.
      expression_sweep: also a video of one identity that walks through the expressions.
      frames: of the interpolation.
      size: of the videos, pixels.

    Returns:
      What to open first: the contact sheet and the videos.

    Raises:
      ValueError: an unknown expression or format, or a number that makes no sense.
    """
    from tqdm import tqdm

    unknown = set(formats) - set(MESH_FORMATS)
    if unknown:
        raise ValueError(f"unknown mesh format {sorted(unknown)}: wanted some of {MESH_FORMATS}")
    if num < 1 or seed < 0 or frames < 1 or size < 16:
        raise ValueError(
            f"num and frames must be positive, seed not negative and size at least 16, found "
            f"num={num}, frames={frames}, seed={seed}, size={size}"
        )
    gallery, net, gen = gallery_of(run), run.system.net, run.params["gen"]
    out = pathlib.Path(out)
    count = net.label_size
    if expression is not None and not count:
        raise ValueError("this model has no expression labels: leave --expression away")
    picks = [gallery.label(expression if expression else k % count) for k in range(num) if count]
    labels = np.stack(picks) if picks else np.zeros((num, 0), np.float32)
    latents = np.stack([gallery.latents(1, seed + k)[0] for k in range(num)])
    maps = gallery.maps(gen, latents, labels)
    first = []
    for k in tqdm(range(num), desc="faces", disable=None):
        gallery.write_face(maps[k], out, f"face_{k:04d}", formats)
    if gallery.maker is not None:
        first.append(
            write_image(out / "faces.png", gallery.contact_sheet(maps, min(num, _COLUMNS), 192))
        )
    if interpolate:
        video = gallery.interpolation(gen, frames, seed, size=size)
        video = tqdm(video, desc="interpolation", total=frames, disable=None)
        first.append(write_video(out / "interpolation.mp4", video, fps=24))
    if expression_sweep:
        if not count:
            raise ValueError("this model has no expression labels: no expression sweep")
        video = gallery.expression_sweep(gen, seed, size=size)
        first.append(
            write_video(
                out / "expressions.mp4", tqdm(video, desc="expressions", disable=None), fps=24
            )
        )
    return first
