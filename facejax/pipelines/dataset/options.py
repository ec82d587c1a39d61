"""What faces are drawn and how they are seen."""

import dataclasses
from typing import Any

from facejax.data.photographs import LOOKS

SAMPLING = ("normal", "uniform", "manifold")
CAMERAS = ("photo", "ideal")
MODES = {"shape": ("id",), "exp": ("exp",), "both": ("id", "exp")}
_RECIPE = 3  # goes up when the same options give other faces


@dataclasses.dataclass(frozen=True)
class Options:
    """Everything that face i depends on besides i, the face model and a denoiser.

    Angles and lengths are drawn uniformly.

    Attributes:
      sampling: 'normal' (Gaussian identities, drawn expressions), 'uniform', or 'manifold'
        (uniform, then denoised by a trained run with its own strength and number of steps).
      mode: which coefficients `sampling` is about, 'shape', 'exp' or 'both'; the others are normal.
      shape_range, exp_range: width of 'uniform' in standard deviations of each component.
      size: pixels on a side.
      yaw_deg, pitch_deg, roll_deg: largest rotation of the head to either side.
      distance_mm: (least, most), from the camera to the middle of the head.
      frame_mm: (least, most) height of the picture at the head.
      shift_mm: largest offset of the head from the middle of the picture, to either side.
      background: 'scene' (drawn: studios, rooms, lights, gardens, patterns), 'plain', 'gradient',
        or a folder of images.
      camera: 'photo' (lens, noise, compression, things before the face, see
        `facejax.data.photographs.PictureRanges`), or 'ideal': the same light, and none of these.
      look: 'people' (painted skin, hair, clothes, glasses and hats), 'head' (the face model as it
        is), or 'auto': people where the face model has what they need.
      supersample: samples per pixel along each axis, of the picture and its mask: 1, which blends
        the pixels that silhouettes cut, or 2.
      seed: >= 0.
    """

    sampling: str = "normal"
    mode: str = "both"
    shape_range: float = 10.0
    exp_range: float = 10.0
    size: int = 256
    yaw_deg: float = 60.0
    pitch_deg: float = 20.0
    roll_deg: float = 15.0
    distance_mm: tuple[float, float] = (500.0, 1500.0)
    frame_mm: tuple[float, float] = (260.0, 380.0)
    shift_mm: float = 20.0
    background: str = "scene"
    camera: str = "photo"
    look: str = "auto"
    supersample: int = 1
    seed: int = 0

    def __post_init__(self):
        checks = (
            ("sampling", self.sampling in SAMPLING, f"one of {SAMPLING}"),
            ("mode", self.mode in MODES, f"one of {tuple(MODES)}"),
            ("shape_range", self.shape_range > 0, "a positive number"),
            ("exp_range", self.exp_range > 0, "a positive number"),
            ("size", 16 <= self.size <= 4096, "16 to 4096 pixels"),
            ("yaw_deg", 0 <= self.yaw_deg <= 180, "0 to 180"),
            ("pitch_deg", 0 <= self.pitch_deg <= 90, "0 to 90"),
            ("roll_deg", 0 <= self.roll_deg <= 180, "0 to 180"),
            # nearer than this, the head would not fit between the clipping planes
            ("distance_mm", _span(self.distance_mm, 400.0), "LEAST,MOST with 400 <= LEAST <= MOST"),
            ("frame_mm", _span(self.frame_mm, 20.0), "LEAST,MOST with 20 <= LEAST <= MOST"),
            ("shift_mm", 0 <= self.shift_mm <= 200, "0 to 200"),
            ("background", bool(self.background), "'scene', 'plain', 'gradient' or a folder"),
            ("look", self.look in LOOKS, f"one of {LOOKS}"),
            ("camera", self.camera in CAMERAS, f"one of {CAMERAS}"),
            ("supersample", self.supersample in (1, 2), "1 or 2"),
            ("seed", self.seed >= 0, "0 or more"),
        )
        for name, good, wanted in checks:
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)!r}, wanted {wanted}")

    @property
    def wide(self) -> tuple[str, ...]:
        """Coefficients that are drawn uniformly, of 'id' and 'exp'."""
        return () if self.sampling == "normal" else MODES[self.mode]

    def settings(self) -> dict[str, Any]:
        """JSON-able; two runs with the same settings, model and images make the same faces."""
        fields = dataclasses.asdict(self) | {"recipe": _RECIPE}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _span(value, least: float) -> bool:
    return len(value) == 2 and least <= value[0] <= value[1]
