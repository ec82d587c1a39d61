"""Line plots as pictures, drawn with Pillow."""

from collections.abc import Mapping, Sequence

import numpy as np

_COLORS = (
    (31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (140, 86, 75),
    (227, 119, 194), (23, 190, 207),
)  # fmt: skip
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 260, 64, 12, 40, 34


def line_plots(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    x_label: str = "",
    log_y: bool = False,
    columns: int = 3,
) -> np.ndarray:
    """Panels of curves side by side.

    Args:
      panels: {title: {name of a curve: (x [N], y [N])}}; points that are not finite are left out.
      x_label: under every panel.
      log_y: logarithmic y axes; points that are not positive are left out.
      columns: panels per row.

    Returns:
      [H, W, 3] uint8.

    Raises:
      ValueError: there is nothing to draw.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not panels:
        raise ValueError("there are no curves to draw")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    image = Image.new("RGB", (columns * _WIDTH, rows * _HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for k, (title, curves) in enumerate(panels.items()):
        corner = np.array([k % columns * _WIDTH, k // columns * _HEIGHT])
        _panel(draw, font, corner, title, curves, x_label, log_y)
    return np.asarray(image)


def _panel(draw, font, corner, title, curves, x_label, log_y):
    low = corner + (_LEFT, _HEIGHT - _BOTTOM)  # pixels of the axes' origin and of their ends
    high = corner + (_WIDTH - _RIGHT, _TOP)
    draw.text((low[0], corner[1] + 4), title, "black", font)
    points = {}
    for name, (x, y) in curves.items():
        xy = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=-1)
        if log_y:
            xy = xy[xy[:, 1] > 0]
            xy[:, 1] = np.log10(xy[:, 1])
        points[name] = xy[np.isfinite(xy).all(1)]
    every = np.concatenate(list(points.values()))
    if not len(every):
        draw.text((low[0], (low[1] + high[1]) / 2), "no finite values", "black", font)
        return
    start, stop = every.min(0), every.max(0)
    flat = stop - start < 1e-12 * np.maximum(np.abs(stop), 1e-12)
    start, stop = np.where(flat, start - 0.5, start), np.where(flat, stop + 0.5, stop)
    for share in np.linspace(0, 1, 5):
        at = low + share * (high - low)
        x, y = start + share * (stop - start)
        draw.line([(low[0], at[1]), (high[0], at[1])], (225, 225, 225))
        text = f"{10**y:.3g}" if log_y else f"{y:.3g}"
        draw.text((low[0] - 4, at[1]), text, "black", font, anchor="rm")
        draw.text((at[0], low[1] + 4), f"{x:.3g}", "black", font, anchor="ma")
    draw.text(((low[0] + high[0]) / 2, low[1] + 18), x_label, "black", font, anchor="ma")
    draw.rectangle([low[0], high[1], high[0], low[1]], outline="black")
    left = low[0]
    for k, (name, xy) in enumerate(points.items()):
        color = _COLORS[k % len(_COLORS)]
        pixels = low + (xy - start) / (stop - start) * (high - low)
        draw.line([tuple(p) for p in pixels], color, 2)
        for x, y in pixels:
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], color)
        draw.text((left, corner[1] + 20), name, color, font)
        left += font.getlength(name) + 12
