"""Looking into a trained or imported TBGAN: grids, sweeps, mesh sequences, training progress.

The utilities of the code of arXiv 1909.02215 and 1710.10196, on any trained or imported run.
"""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from facejax.host.files import read_json_lines
from facejax.image.resample import resize
from facejax.io.images import (
    add_text_labels,
    image_grid,
    read_image,
    snapshot_grid_size,
    to_uint8,
)
from facejax.nn.batching import padded_batches
from facejax.nn.latents import smooth_latent_path
from facejax.systems.tbgan.gallery import BATCH, Gallery, take
from facejax.systems.tbgan.generate import gallery_of
from facejax.train.runs import Run

LAYOUTS = ("random", "row_per_class")


def label_rows(gallery: Gallery, num: int, expression: str | None = None) -> np.ndarray:
    """One-hot labels [num, K]: of one expression, or of all in turn."""
    count = gallery.net.label_size
    if not count:
        if expression is not None:
            raise ValueError("this model has no expression labels: leave --expression away")
        return np.zeros((num, 0), np.float32)
    picks = [gallery.label(k % count if expression is None else expression) for k in range(num)]
    return np.stack(picks)


def sample_grids(
    run: Run, size: str | tuple[int, int] = "1080p", layout: str = "random", seed: int = 1000
) -> dict[str, np.ndarray]:
    """Grids of generated maps, one picture per modality, and of rendered faces.

    Args:
      run: a trained or imported one.
      size: '1080p' or '4k' for what fills such a display, or (rows, columns).
      layout: 'random' draws every label; 'row_per_class' gives row k the label k modulo K.
      seed: of latents and labels.

    Returns:
      {name: [H, W, 3] uint8}: names of modalities, and 'faces' where there is a face model.

    Raises:
      ValueError: an unknown size or layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, found {layout!r}")
    gallery = gallery_of(run)
    resolution = gallery.stage[0]
    rows, columns = snapshot_grid_size(resolution, size) if isinstance(size, str) else size
    if rows < 1 or columns < 1:
        raise ValueError(f"a grid needs at least one row and one column, found {rows} x {columns}")
    num, count = rows * columns, gallery.net.label_size
    classes = np.repeat(np.arange(rows), columns) % max(count, 1)
    if layout == "random":
        classes = np.random.RandomState(seed).randint(max(count, 1), size=num)
    labels = np.eye(max(count, 1), count, dtype=np.float32)[classes]
    maps = gallery.maps(run.params["gen"], gallery.latents(num, seed), labels)
    pictures = gallery.map_pictures(maps, resolution)
    grids = {
        name: to_uint8(image_grid(list(picture), columns))
        for name, picture in zip(gallery.map_names(), pictures, strict=True)
    }
    if gallery.maker is not None:
        faces = gallery.rendered(maps, [0.0], gallery.options.tile)[0]
        grids["faces"] = to_uint8(image_grid(list(faces), columns))
    return grids


def dimension_sweep(
    run: Run,
    dim: int,
    frames: int = 96,
    *,
    span: float = 4.0,
    seed: int = 1000,
    expression: str | None = None,
    size: int = 256,
) -> Iterator[np.ndarray]:
    """Pictures of one face while one component of its latent goes from -span to span.

    Args:
      run: a trained or imported one.
      dim: the component, 0 .. latents - 1.
      frames: number of pictures.
      span: in standard deviations.
      seed: of the latent.
      expression: of the face; the first label by default.
      size: of the pictures, pixels.

    Returns:
      An iterator of [size, size, 3] in [0, 1].

    Raises:
      ValueError: no such component.
    """
    gallery = gallery_of(run)
    if not 0 <= dim < gallery.net.latents:
        raise ValueError(f"dim must lie in 0 .. {gallery.net.latents - 1}, found {dim}")
    latents = np.repeat(gallery.latents(1, seed), frames, axis=0)
    latents[:, dim] = np.linspace(-span, span, frames)
    # as in the original; the networks normalise every latent anyhow, where they are built so
    latents /= np.sqrt(np.mean(latents**2))
    labels = np.repeat(label_rows(gallery, 1, expression), frames, axis=0)
    return gallery.pictures_of(run.params["gen"], latents, labels, np.zeros(frames), size)


def interpolation_path(
    run: Run, frames: int, seed: int = 1000, smoothing_frames: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    """A closed smooth walk: latents [F, D] and label probabilities [F, K].

    Args:
      run: a trained or imported one.
      frames: F.
      seed: of the walk.
      smoothing_frames: standard deviation of the blur along it.
    """
    net = run.system.net
    raw = np.random.RandomState(seed).randn(frames, 1, net.latents + net.label_size)
    path = np.asarray(smooth_latent_path(raw, smoothing_frames), np.float32)[:, 0]
    labels = path[:, net.latents :]
    if net.label_size:
        labels = np.asarray(jax.nn.softmax(labels, axis=-1))
    return path[:, : net.latents], labels


def write_mesh_sequence(
    run: Run,
    out: str | pathlib.Path,
    frames: int = 150,
    *,
    seed: int = 1000,
    smoothing_frames: float = 3.0,
    amplify: float = 1.0,
    suffix: str = "obj",
) -> list[pathlib.Path]:
    """Textured meshes 000000.obj, 000001.obj, ... along an interpolation.

    Args:
      run: a trained or imported one; its data must belong to a face model.
      out: folder; made if missing.
      frames: number of meshes.
      seed, smoothing_frames: see `interpolation_path`.
      amplify: factor on the label probabilities; the published demo exaggerates up to ten times.
      suffix: 'obj', 'glb' or 'ply'.

    Returns:
      The files.

    Raises:
      ValueError: the run has no face model.
    """
    from facejax.io.meshes import save_mesh

    gallery = gallery_of(run)
    if gallery.maker is None:
        raise ValueError(
            "maps become meshes by a face model, and the data of this run name none: import the "
            "weights with --data=DIR, a set whose maps were baked from one"
        )
    latents, labels = interpolation_path(run, frames, seed, smoothing_frames)
    written = []
    for (z, y), count in padded_batches((latents, labels * np.float32(amplify)), BATCH):
        meshes = gallery.maker(gallery.maps(run.params["gen"], z, y))
        for k in range(count):
            path = pathlib.Path(out) / f"{len(written):06d}.{suffix}"
            written.append(save_mesh(path, take(meshes, k)))
    return written


def training_frames(
    workdir: str | pathlib.Path, frames: int = 300, *, name: str = "fakes", time_warp: float = 1.5
) -> Iterator[np.ndarray]:
    """Frames of a video of samples/<name>-*.png; early progress is shown slowly.

    At share t of the video the newest picture from before t^time_warp of the images seen is shown.

    Args:
      workdir: of a run.
      frames: length of the video.
      name: of the pictures.
      time_warp: 1 for steady progress.

    Yields:
      [H, W, 3] uint8 with the number of images in a line above; at most 1920 x 1080 pixels.

    Raises:
      ValueError: the run has no such pictures.
    """
    folder = pathlib.Path(workdir) / "samples"
    found = {int(p.stem.rsplit("-", 1)[1]): p for p in sorted(folder.glob(f"{name}-*.png"))}
    if not found:
        raise ValueError(f"{folder} holds no {name}-*.png: wanted the folder of a run with samples")
    kimgs = np.array(sorted(found))
    stages = _stages(pathlib.Path(workdir))
    shape = read_image(found[kimgs[-1]], "RGB").shape[:2]
    while shape[0] > 1040 or shape[1] > 1920:
        shape = (shape[0] // 2, shape[1] // 2)
    shown, frame = None, None
    for t in np.linspace(0, 1, frames):
        now = kimgs[0] + t**time_warp * (kimgs[-1] - kimgs[0])
        kimg = int(kimgs[np.searchsorted(kimgs, now + 1e-6, side="right") - 1])
        if kimg != shown:
            picture = read_image(found[kimg], "RGB")
            if picture.shape[:2] != shape:
                picture = np.asarray(resize(jnp.asarray(picture), shape, "bilinear"))
            stage = [s for k, s in stages if k <= kimg + 1e-6][-1:]
            text = " ".join([f"{kimg} thousand images", *stage])
            frame = to_uint8(add_text_labels(np.clip(picture, 0, 1), column_labels=[text]))
            shown = kimg
        yield frame


def _stages(workdir: pathlib.Path) -> list[tuple[float, str]]:
    """(thousand images, stage) where a stage begins, from metrics.jsonl; empty without one."""
    path = workdir / "metrics.jsonl"
    out: list[tuple[float, str]] = []
    for record in read_json_lines(path) if path.is_file() else ():
        stage = record.get("stage")
        if stage and (not out or out[-1][1] != stage):
            out.append((0.0 if not out else float(record.get("kimg", 0.0)), stage))
    return out
