"""How far photographs differ in everything but the face and its pose."""

import dataclasses

from facejax.data.photographs.scenes import SCENES


@dataclasses.dataclass(frozen=True)
class PictureRanges:
    """Every random choice of a picture; uniform unless said. (a, b) are the ends of a range.

    Light, in the camera's frame:

    Attributes:
      contrast: largest share of the light on a face that comes from the key lamp, in [0, 1); the
        share is drawn between a fifth of that and that. The sky (light from all sides) gives the
        rest.
      key_azimuth_deg: of the key lamp to either side; 0 is behind the camera.
      key_height_deg: of the key lamp above the horizon.
      fill: of the fill lamp, as a share of the key, on its other side.
      rim: of the lamp behind the head, as a share of all other light; in a third of the photos.
      kelvin: colour temperature of the key lamp and, apart from it, of the sky; uniform in 1 / K.
      shadow_mm: radius over which shadows are softened.

    Camera:

    Attributes:
      brightness: of the exposure around a good one, to either side, as a share.
      tint: of the white balance: standard deviation of each channel, as a share; the camera takes
        seven to ten tenths of the light's own colour away.
      tone_contrast: factor on the contrast of stored values.
      saturation: factor on the saturation of stored colours.
      midtones: added to a stored value of 0.5, times 0.25; black and white stay.
      vignette: loss of light in the corners, as a share.
      blur_px: standard deviation of the lens blur, per 100 pixels of the picture's side; the square
        of a uniform number of the range, so that sharp pictures are the most frequent.
      sharpness: least share of the pixels along a side that a loss of resolution leaves; in
        `degraded` of the photos.
      noise: largest standard deviation of the sensor's noise in the dark and, squared, its variance
        per unit of light, in linear light; times the square of a uniform number.
      quality: of JPEG compression, in `degraded` of the photos.
      degraded: share of the photos that lose resolution, and, apart from them, that are compressed.

    What is behind and before the face:

    Attributes:
      scenes: weights of `scenes.SCENES`.
      defocus: largest blur of the scene, standard deviation as a share of the side; the square of
        a uniform number.
      covered: share of the photos in which something covers parts of the face's border.
      blobs: share of the photos with a thing before the face: a hand-sized patch of one colour.
      cut: share of the photos that end inside the picture: bars at one or two of its borders.
    """

    contrast: float = 0.8
    key_azimuth_deg: float = 100.0
    key_height_deg: tuple[float, float] = (-20.0, 70.0)
    fill: tuple[float, float] = (0.0, 0.4)
    rim: float = 0.6
    kelvin: tuple[float, float] = (2800.0, 9000.0)
    shadow_mm: tuple[float, float] = (2.0, 14.0)
    brightness: float = 0.35
    tint: float = 0.04
    tone_contrast: tuple[float, float] = (0.85, 1.2)
    saturation: tuple[float, float] = (0.6, 1.25)
    midtones: tuple[float, float] = (-0.25, 0.25)
    vignette: float = 0.25
    blur_px: float = 0.8
    sharpness: float = 0.35
    noise: float = 0.025
    quality: tuple[float, float] = (25.0, 95.0)
    degraded: float = 0.5
    scenes: tuple[float, ...] = (2.0, 3.0, 1.5, 2.5, 1.5)
    defocus: float = 0.03
    covered: float = 0.0
    blobs: float = 0.08
    cut: float = 0.05

    def __post_init__(self):
        spans = ("key_height_deg", "fill", "kelvin", "shadow_mm", "tone_contrast", "saturation")
        for name in (*spans, "midtones", "quality"):
            value = tuple(float(v) for v in getattr(self, name))
            object.__setattr__(self, name, value)  # configurations hold lists
            if len(value) != 2 or not value[0] <= value[1]:
                raise ValueError(f"{name} is {value}, wanted two numbers, the least and the most")
        object.__setattr__(self, "scenes", tuple(float(v) for v in self.scenes))
        checks = (
            ("contrast", 0 <= self.contrast < 1, "0 to 1, without 1"),
            ("kelvin", 1667 <= self.kelvin[0] and self.kelvin[1] <= 25000, "1667 to 25000"),
            ("brightness", 0 <= self.brightness < 1, "0 to 1, without 1"),
            ("midtones", -1 <= self.midtones[0] and self.midtones[1] <= 1, "-1 to 1"),
            ("sharpness", 0 < self.sharpness <= 1, "above 0, at most 1"),
            ("quality", 1 <= self.quality[0] and self.quality[1] <= 100, "1 to 100"),
            (
                "scenes",
                len(self.scenes) == len(SCENES) and min(self.scenes) >= 0 and sum(self.scenes) > 0,
                f"a weight for each of {', '.join(SCENES)}",
            ),
        )
        shares = ("rim", "vignette", "degraded", "covered", "blobs", "cut", "defocus")
        checks += tuple((n, 0 <= getattr(self, n) <= 1, "0 to 1") for n in shares)
        amounts = ("key_azimuth_deg", "tint", "blur_px", "noise")
        checks += tuple((n, getattr(self, n) >= 0, "0 or more") for n in amounts)
        for name, good, wanted in checks:
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)!r}, wanted {wanted}")

    def ideal(self) -> "PictureRanges":
        """The same light and scenes, a camera without faults, and nothing before the face."""
        one = (1.0, 1.0)
        return dataclasses.replace(
            self, tint=0.0, tone_contrast=one, saturation=one, midtones=(0.0, 0.0), vignette=0.0,
            blur_px=0.0, noise=0.0, defocus=0.0, degraded=0.0, covered=0.0, blobs=0.0, cut=0.0,
        )  # fmt: skip
