"""What a finished set looks like: a contact sheet, one row of outputs per face, histograms."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from facejax.io.images import add_text_labels, image_grid, write_image
from facejax.pipelines.dataset.options import Options

_SHEET, _THUMBNAIL = 64, 128
_DETAILED = 6
_BINS = 30
_PALETTE = np.array(
    [(0, 0, 0), (110, 110, 110), (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200),
     (245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230), (210, 245, 60),
     (250, 190, 212), (0, 128, 128), (170, 110, 40)], np.uint8,
)  # fmt: skip


def write_sheets(
    out: pathlib.Path, num: int, face: Callable[[int], Mapping[str, np.ndarray]]
) -> None:
    """contact_sheet.png (the first faces) and outputs.png (all that is stored of a few).

    Args:
      out: folder.
      num: faces in the set.
      face: number -> all its outputs.
    """
    thumbnails = [_thumbnail(face(i)["image"]) for i in range(min(num, _SHEET))]
    write_image(out / "contact_sheet.png", image_grid(thumbnails, pad=2, background=255))
    rows = [_views(face(i)) for i in range(min(num, _DETAILED))]
    cells = [view for views in rows for view in views.values()]
    grid = image_grid(cells, columns=len(rows[0]), pad=4, background=255)
    write_image(out / "outputs.png", add_text_labels(grid, column_labels=list(rows[0]), pad=4))


def _thumbnail(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    side = min(_THUMBNAIL, len(image))
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def _views(face: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[H, W, 3] uint8 pictures of the outputs of a face."""
    hit = face["regions"] > 0
    depth = np.zeros_like(face["depth_mm"])
    if hit.any():
        near, far = face["depth_mm"][hit].min(), face["depth_mm"][hit].max()
        depth[hit] = 255 * (1 - 0.8 * (face["depth_mm"][hit] - near) / max(far - near, 1e-6))
    normal = np.where(hit[..., None], (face["normal"].astype(np.float32) + 1) * 127.5, 0)
    views = {
        "image": face["image"],
        "68 landmarks": _dots(face, 68),
        "5 landmarks": _dots(face, 5),
        "mask": _grey(face["mask"]),
        "depth": _grey(depth),
        "normal": normal.astype(np.uint8),
        "regions": _PALETTE[face["regions"] % len(_PALETTE)],
    }
    if "uv" in face:
        uv = np.clip(face["uv"].astype(np.float32), 0, 1) * 255
        views["uv"] = np.concatenate([uv, 0 * uv[..., :1]], axis=-1).astype(np.uint8)
    return views


def _grey(plane):
    return np.repeat(plane[..., None].astype(np.uint8), 3, axis=-1)


def _dots(face, kind) -> np.ndarray:
    """The picture with its landmarks: green where visible, red where hidden."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(face["image"])
    draw, radius = ImageDraw.Draw(image), max(0.5, len(face["image"]) / 180)
    seen = face[f"landmarks{kind}_visible"]
    for (x, y), visible in zip(face[f"landmarks{kind}_px"], seen, strict=True):
        box = (x - 0.5 - radius, y - 0.5 - radius, x - 0.5 + radius, y - 0.5 + radius)
        draw.ellipse(box, fill=(60, 220, 60) if visible else (230, 40, 40))
    return np.asarray(image)


class Statistics:
    """Histograms over all faces, gathered one face at a time.

    Args:
      options: their ranges are the ranges of the histograms.
      blendshapes: whether expressions are weights of blendshapes.
    """

    def __init__(self, options: Options, blendshapes: bool):
        o, wide = options, max(4.0, 0.6 * options.shape_range if options.wide else 4.0)
        weights = 1.5 if blendshapes else wide
        self.num = 0
        self._edges = {
            "yaw, degrees": (-o.yaw_deg, o.yaw_deg),
            "pitch, degrees": (-o.pitch_deg, o.pitch_deg),
            "roll, degrees": (-o.roll_deg, o.roll_deg),
            "distance of the camera, mm": o.distance_mm,
            "height of the picture at the head, mm": o.frame_mm,
            "light: mean level": (0.0, 2.0),
            "light: from the left (-) or right (+), degrees": (-180.0, 180.0),
            "light: from below (-) or above (+), degrees": (-90.0, 90.0),
            "identity coefficients": (-wide, wide),
            "expression coefficients": (-weights, weights),
            "albedo coefficients": (-4.0, 4.0),
            "visible landmarks of 68": (0.0, 68.0),
        }
        self._counts = {k: np.zeros(_BINS, np.int64) for k in self._edges}
        self._sums: dict[str, list] = {}

    def add(self, labels: Mapping[str, np.ndarray]) -> None:
        """One face."""
        degrees = np.degrees([labels[f"{k}_rad"] for k in ("yaw", "pitch", "roll")])
        light = np.asarray(labels["sh_light"], np.float64).mean(axis=1)
        y, z, x = light[1:4]
        values = (
            *degrees,
            labels["distance_mm"],
            labels["frame_mm"],
            0.28209479 * light[0],  # the constant harmonic
            np.degrees(np.arctan2(x, z)),
            np.degrees(np.arctan2(y, np.hypot(x, z))),
            labels["id"],
            labels["exp"],
            labels["alb"],
            labels["landmarks68_visible"].sum(),
        )
        self.num += 1
        for (name, (low, high)), value in zip(self._edges.items(), values, strict=True):
            value = np.asarray(value, np.float64).reshape(-1)
            if not np.isfinite(value).all():
                raise ValueError(f"a face of the set has {name} that are not finite")
            place = (value - low) / max(high - low, 1e-9) * _BINS
            bins = np.clip(place.astype(np.int64), 0, _BINS - 1)
            self._counts[name] += np.bincount(bins, minlength=_BINS)
        for key in ("id", "exp", "alb"):
            value = np.asarray(labels[key], np.float64)
            total = self._sums.setdefault(key, [np.zeros_like(value), np.zeros_like(value)])
            total[0] += value
            total[1] += value**2

    def write(self, path: pathlib.Path) -> None:
        """The page, as a picture: a panel per quantity, and the spread of every coefficient."""
        panels = {k: (*self._edges[k], c) for k, c in self._counts.items()}
        words = {"id": "identity", "exp": "expression", "alb": "albedo"}
        for key, (total, squares) in self._sums.items():
            mean = total / self.num
            std = np.sqrt(np.maximum(squares / self.num - mean**2, 0))
            panels[f"standard deviation of each {words[key]} coefficient"] = (0, len(std), std)
        write_image(path, _bar_panels(panels, f"{self.num} faces"))


def _bar_panels(
    panels: Mapping[str, tuple[float, float, Sequence[float]]], title: str
) -> np.ndarray:
    """[H, W, 3] uint8: bars between two ends of an axis, from zero, three panels per row."""
    from PIL import Image, ImageDraw, ImageFont

    width, height, columns = 360, 210, 3
    rows = -(-len(panels) // columns)
    image = Image.new("RGB", (columns * width, rows * height + 30), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    draw.text((20, 8), title, "black", ImageFont.load_default(15))
    for k, (name, (low, high, bars)) in enumerate(panels.items()):
        left, top = k % columns * width + 50, k // columns * height + 55
        right, bottom = left + width - 70, top + height - 55
        draw.text((left, top - 18), name, "black", font)
        most = max(float(np.max(bars)), 1e-12)
        step = (right - left) / len(bars)
        for i, value in enumerate(bars):
            x = left + i * step
            y = bottom - (bottom - top) * float(value) / most
            draw.rectangle((x, y, max(x + step - 1, x), bottom), fill=(70, 120, 190))
        draw.rectangle((left, top, right, bottom), outline="black")
        for share in (0.0, 0.5, 1.0):
            at = left + share * (right - left)
            draw.text((at, bottom + 4), f"{low + share * (high - low):.4g}", 0, font, "ma")
            draw.text(
                (left - 4, bottom - share * (bottom - top)), f"{share * most:.3g}", 0, font, "rm"
            )
    return np.asarray(image)
