"""Photo to crop: five-point alignment of the Deep3D family, invertible, and its checks.

Deng et al. 2019 (arXiv 1903.08527), code (microsoft/Deep3DFaceReconstruction preprocess_img.py,
sicxu/Deep3DFaceRecon_pytorch util/preprocess.py): a least-squares affine camera of five standard 3D
points gives the scale and the place of the face; the photo is resized and cut, without rotation.

Two frames: PHOTO points have y DOWN from the top, as landmark files of photos; CROP points have y
UP from the bottom, as all landmarks of the Deep3D family (`facejax.recon.decoder`).
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from facejax.recon.decoder import STANDARD_POINTS_DM, five_points

CROP_SIZE = 224
RESCALE = 102.0  # pixels per dm of the standard face, for crops of 224
_DLIB = (
    "four points lie on one line: these look like dlib's five points (eye corners and the base of "
    "the nose), not eyes, nose tip and mouth corners"
)
_NO_FACE = (
    "the five points fit no face; wanted eye centres, nose tip and mouth corners, image left first"
)
_MISFIT = 0.25  # faces of two models in all poses stay below 0.21, photos below 0.16
_MAX_ROLL_DEG = 75.0
_MAX_PIXELS = 100_000_000  # of a photo that is resized as a whole, as the originals do
ARCFACE_TEMPLATE = np.array(  # ArcFace's crop of 112 px, y down (Deng et al. 2019, 1801.07698)
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)


def landmarks5_from_68(landmarks: np.ndarray) -> np.ndarray:
    """Eyes (means of their corners), nose tip, mouth corners: [..., 68, 2] -> [..., 5, 2] float64.

    Any y direction.
    """
    points = np.asarray(landmarks, np.float64)
    eyes = [points[..., ids, :].mean(axis=-2) for ids in ([36, 39], [42, 45])]
    return np.stack([*eyes, *(points[..., k, :] for k in (30, 48, 54))], axis=-2)


def pos(points: np.ndarray, standard: np.ndarray = STANDARD_POINTS_DM) -> tuple[np.ndarray, float]:
    """Place and scale of a face by least squares with an affine camera.

    Args:
      points: [5, 2] photo pixels, y UP.
      standard: [5, 3] dm.

    Returns:
      (t [2] pixels: where the standard frame's origin falls; s: pixels per dm).
    """
    first, second, t = _affine_camera(points, standard)
    return t, float((np.linalg.norm(first) + np.linalg.norm(second)) / 2)


def _affine_camera(points, standard):
    """x = first . X + t_x and y = second . X + t_y, by least squares."""
    ones = np.ones((len(standard), 1))
    system = np.concatenate([np.asarray(standard, np.float64), ones], axis=1)
    k = np.linalg.lstsq(system, np.asarray(points, np.float64), rcond=None)[0]
    return k[:3, 0], k[:3, 1], k[3]


@dataclasses.dataclass(frozen=True)
class Transform:
    """How a crop was cut from a photo; `trans_params` of the originals.

    Attributes:
      width, height: of the photo.
      scale: resizing factor.
      x, y: photo pixels, y UP: where the standard frame's origin falls.
      size: side of the crop.
    """

    width: int
    height: int
    scale: float
    x: float
    y: float
    size: int = CROP_SIZE

    @property
    def resized(self) -> tuple[int, int]:
        """(width, height) of the resized photo."""
        return int(self.width * self.scale), int(self.height * self.scale)

    @property
    def corner(self) -> tuple[int, int]:
        """(left, top) of the crop in the resized photo, y down, truncated as in the originals."""
        w, h = self.resized
        half = self.size / 2
        left = int(w / 2 - half + (self.x - self.width / 2) * self.scale)
        top = int(h / 2 - half + (self.height / 2 - self.y) * self.scale)
        return left, top

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The crop's (left, top, right, bottom) in the photo, continuous pixels, y down.

        Exact for pictures; `to_photo` may differ by less than one pixel of the crop, because the
        originals truncate the crop's corner but not the landmarks.
        """
        (w, h), (left, top) = self.resized, self.corner
        across, down = self.width / w, self.height / h
        right, bottom = left + self.size, top + self.size
        return left * across, top * down, right * across, bottom * down

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Photo points (y down), [..., N, 2], as crop points (y UP)."""
        p = np.asarray(points, np.float64)
        w, h = self.resized
        x = (p[..., 0] - self.x + self.width / 2) * self.scale - (w / 2 - self.size / 2)
        up = self.height - 1 - p[..., 1]
        y = (up - self.y + self.height / 2) * self.scale - (h / 2 - self.size / 2)
        return np.stack([x, y], axis=-1)

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Crop points (y UP), [..., N, 2], as photo points (y down); inverse of `to_crop`."""
        p = np.asarray(points, np.float64)
        w, h = self.resized
        x = (p[..., 0] + w / 2 - self.size / 2) / self.scale + self.x - self.width / 2
        y = (p[..., 1] + h / 2 - self.size / 2) / self.scale + self.y - self.height / 2
        return np.stack([x, self.height - 1 - y], axis=-1)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The crop of a picture of the photo's size: Pillow's bicubic resizing, black outside.

        Args:
          image: [height, width, 3] or [height, width] uint8.

        Returns:
          [size, size, 3] or [size, size] uint8.

        Raises:
          ValueError: another size, or landmarks that would leave no pixel of the photo.
        """
        from PIL import Image

        if image.shape[:2] != (self.height, self.width):
            raise ValueError(
                f"found an image of {image.shape[1]}x{image.shape[0]}, wanted "
                f"{self.width}x{self.height}, for which the alignment was made"
            )
        w, h = self.resized
        if not w * h:
            raise ValueError(
                f"the five landmarks would scale the photo of {self.width}x{self.height} to "
                f"{w}x{h} pixels: check the landmarks"
            )
        left, top = self.corner
        photo, method = Image.fromarray(image), Image.Resampling.BICUBIC
        if w * h <= _MAX_PIXELS:
            resized = photo.resize((w, h), method)
            return np.asarray(resized.crop((left, top, left + self.size, top + self.size)))
        # a small face in a large photo: only what the crop shows; pixels differ by 2 of 255 at most
        seen = max(left, 0), max(top, 0), min(left + self.size, w), min(top + self.size, h)
        out = np.zeros((self.size, self.size, *image.shape[2:]), np.uint8)
        if seen[0] < seen[2] and seen[1] < seen[3]:
            across, down = self.width / w, self.height / h
            box = (seen[0] * across, seen[1] * down, seen[2] * across, seen[3] * down)
            part = photo.resize((seen[2] - seen[0], seen[3] - seen[1]), method, box)
            out[seen[1] - top : seen[3] - top, seen[0] - left : seen[2] - left] = np.asarray(part)
        return out


@dataclasses.dataclass(frozen=True)
class AlignedPhoto:
    """A photo ready for the networks.

    Attributes:
      crop: [224, 224, 3] uint8 RGB, row 0 at the top.
      transform: how it was cut, with the way back; None for crops of unknown origin.
      landmarks: [5, 2] or [68, 2] float64, crop pixels, y UP.
    """

    crop: np.ndarray
    transform: Transform | None
    landmarks: np.ndarray


def align(landmarks: np.ndarray, size: tuple[int, int], crop_size: int = CROP_SIZE) -> Transform:
    """The transform of a photo with five or 68 landmarks.

    Args:
      landmarks: [5, 2] or [68, 2] photo pixels, y down.
      size: (height, width) of the photo.
      crop_size: side of the crop.

    Raises:
      ValueError: another number of points, or points that define no face.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape not in ((5, 2), (68, 2)) or not np.isfinite(points).all():
        raise ValueError(
            f"found landmarks of shape {points.shape}, wanted finite [5, 2] or [68, 2] photo "
            "pixels (x, y)"
        )
    if len(points) == 68:
        points = landmarks5_from_68(points)
    height, width = size
    t, s = pos(np.stack([points[:, 0], height - 1 - points[:, 1]], axis=1))
    if s < 1e-3:
        raise ValueError("the five landmarks lie on one spot; wanted those of a face")
    return Transform(width, height, RESCALE / s * (crop_size / CROP_SIZE), *t.tolist(), crop_size)


def align_photo(
    image: np.ndarray, landmarks: np.ndarray, crop_size: int = CROP_SIZE
) -> AlignedPhoto:
    """Cuts the face out of a photo.

    Args:
      image: [H, W, 3] uint8 RGB.
      landmarks: [5, 2] or [68, 2] photo pixels, y down; `check_landmarks5` tells odd ones.
      crop_size: side of the crop; networks want 224.

    Raises:
      ValueError: the image is no uint8 RGB, or the landmarks define no face.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"found an image of shape {image.shape} and type {image.dtype}, wanted [H, W, 3] uint8"
        )
    transform = align(landmarks, image.shape[:2], crop_size)
    return AlignedPhoto(transform.cut(image), transform, transform.to_crop(landmarks))


def check_landmarks5(points: np.ndarray, size: tuple[int, int] | None = None) -> list[str]:
    """What looks wrong with five landmarks: order, side, plausibility.

    Args:
      points: [5, 2] photo pixels, y down: left-in-image eye, right-in-image eye, nose tip,
        left-in-image and right-in-image mouth corner.
      size: (height, width) of the photo; None where it is not known.

    Returns:
      Complaints in words; empty for a plausible face in any pose up to profile.
    """
    p = np.asarray(points, np.float64)
    if p.shape != (5, 2) or not np.isfinite(p).all():
        return [f"found landmarks of shape {p.shape}, wanted five finite points"]
    found = []
    if size is not None:
        height, width = size
        outside = ((p < 0) | (p > [width, height])).any(axis=1)
        if outside.any():
            found.append(f"{outside.sum()} of 5 points lie outside the photo of {width}x{height}")
    if _collinear(p[:4]):
        return [*found, _DLIB]
    down = p[3:].mean(axis=0) - p[:2].mean(axis=0)
    if np.linalg.norm(down) < 8:
        return [*found, f"eyes and mouth are only {np.linalg.norm(down):.1f} pixels apart"]
    misfit, roll_deg = (float(x) for x in _fit_poses(p))
    if misfit > _MISFIT:
        found.append(_wrong_order(p, down) or _NO_FACE)
    elif abs(roll_deg) > _MAX_ROLL_DEG:
        found.append(f"the face is turned by {roll_deg:.0f} degrees in the photo; turn it upright")
    return found


def turn_points(points: np.ndarray, size: tuple[int, int], tag: int) -> np.ndarray:
    """Points of a photo's stored pixels as points of the photo as its orientation tag shows it.

    Args:
      points: [..., 2] pixels, y down.
      size: (height, width) as shown.
      tag: one of TURNS.
    """
    x, y = points[..., 0], points[..., 1]
    height, width = size
    turned = {3: (width - 1 - x, height - 1 - y), 6: (width - 1 - y, x), 8: (y, height - 1 - x)}
    return np.stack(turned[tag], axis=-1)


TURNS = {3: 2, 6: -1, 8: 1}  # orientation tags without mirroring: quarter turns of `np.rot90`


def points_as_shown(
    points: np.ndarray, stored: np.ndarray, size: tuple[int, int], tag: int
) -> tuple[np.ndarray, bool]:
    """Points of a photo with an orientation tag, whichever pixels they were measured on.

    Many programs (OpenCV before 3.1, Matlab, dlib's own reader) leave the tag aside. Points that
    are odd where the photo is shown, and plausible on the stored pixels, are turned with it.

    Args:
      points: [5, 2] or [68, 2] photo pixels, y down, if they belong to the photo as shown.
      stored: the same if they belong to the stored pixels; differs only for files with y up.
      size: (height, width) as shown.
      tag: the orientation tag, 1 .. 8.

    Returns:
      (points of the photo as shown, whether they were turned).
    """
    if tag in TURNS and check_landmarks5(five_of(points), size):
        turned = turn_points(np.asarray(stored, np.float64), size, tag)
        if not check_landmarks5(five_of(turned), size):
            return turned, True
    return points, False


def five_of(points: np.ndarray) -> np.ndarray:
    """The five of [68, 2] points, or of five themselves."""
    return landmarks5_from_68(points) if len(points) == 68 else points


def order_complaint(points: np.ndarray) -> str | None:
    """How five points that fit no face would fit one; None where they fit, or none would.

    Args:
      points: [5, 2] finite photo pixels, y down, as for `check_landmarks5`.
    """
    p = np.asarray(points, np.float64)
    if _fit_poses(p)[0] <= _MISFIT:
        return None
    return _wrong_order(p, p[3:].mean(axis=0) - p[:2].mean(axis=0))


def _wrong_order(p, down) -> str | None:
    """How points that fit no face would fit one, in words."""
    misfit, roll_deg = _fit_poses(p[[1, 0, 2, 4, 3]])
    if misfit < _MISFIT:
        if 45 < abs(roll_deg) < 135:
            return "x and y seem to be swapped; wanted x first"
        if down[1] < 0:
            return (
                "the mouth lies above the eyes: y seems to run up, or the mouth comes first; "
                "wanted y down, eyes first"
            )
        return "left and right are swapped: what is on the image's LEFT comes first"
    orders = np.array(list(itertools.permutations(range(5))))
    misfit, roll_deg = _fit_poses(p[orders])
    misfit = np.where(np.abs(roll_deg) > _MAX_ROLL_DEG, 1.0, misfit)
    if misfit.min() > _MISFIT:
        return None
    best = " ".join(str(k + 1) for k in orders[misfit.argmin()])
    return f"wrong order: eye, eye, nose tip, mouth, mouth corner seem to be the points {best}"


@functools.cache
def _poses() -> np.ndarray:
    """The standard points of 171 poses up to profile, seen along z: complex x - iy, centred."""
    yaw, pitch = (np.radians(np.arange(-end, end + 1, 10)) for end in (90, 40))
    yaw, pitch = (g.reshape(-1, 1) for g in np.meshgrid(yaw, pitch))
    x, y, z = STANDARD_POINTS_DM.T
    seen_x = np.cos(yaw) * x + np.sin(yaw) * z
    depth = -np.sin(yaw) * x + np.cos(yaw) * z
    seen = seen_x - 1j * (np.cos(pitch) * y - np.sin(pitch) * depth)
    return seen - seen.mean(axis=1, keepdims=True)


def _fit_poses(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How badly [..., 5, 2] (y down) fit the standard face in its best pose, and its roll.

    Returns:
      The share (0 .. 1) of the points' spread that the best pose leaves after scaling, rolling and
      shifting it; degrees by which the face is rolled clockwise.
    """
    z = points[..., 0] + 1j * points[..., 1]
    z = z - z.mean(axis=-1, keepdims=True)
    product = np.einsum("...n,tn->...t", z, _poses().conj())
    own = (np.abs(z) ** 2).sum(axis=-1)[..., None] * (np.abs(_poses()) ** 2).sum(axis=1)
    explained = np.abs(product) ** 2 / np.maximum(own, 1e-300)
    best = explained.argmax(axis=-1)[..., None]
    left = 1.0 - np.take_along_axis(explained, best, axis=-1)[..., 0]
    roll = np.angle(np.take_along_axis(product, best, axis=-1)[..., 0])
    return np.sqrt(np.maximum(left, 0.0)), np.degrees(roll)


def _collinear(points) -> bool:
    """Whether four points lie nearly on a line, as eye corners do."""
    singular = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(singular[0] > 0 and singular[1] < 0.12 * singular[0])


def arcface_similarity(landmarks: jax.Array, size: int = CROP_SIZE) -> jax.Array:
    """The similarity from crop pixels to ArcFace's 112 px template, for in-graph warping.

    The least-squares similarity without reflection (Umeyama 1991) in closed form: complex linear
    regression. Take `stop_gradient` of predicted landmarks, as the originals do.

    Args:
      landmarks: [..., 68, 2] or [..., 5, 2] crop pixels, y UP.
      size: side of the crop.

    Returns:
      [..., 2, 3] acting on (x, y, 1) with y DOWN, size - 1 - y; the identity where all five points
      coincide.
    """
    points = jnp.asarray(landmarks, jnp.float32)
    if points.shape[-2] == 68:
        points = five_points(points)
    x, y = points[..., 0], size - 1 - points[..., 1]
    u, v = (jnp.broadcast_to(ARCFACE_TEMPLATE[:, k], x.shape) for k in range(2))
    mean = [c.mean(axis=-1, keepdims=True) for c in (x, y, u, v)]
    x, y, u, v = (c - m for c, m in zip((x, y, u, v), mean, strict=True))
    square = jnp.sum(x * x + y * y, axis=-1)
    tiny = square < 1e-6
    square = jnp.where(tiny, 1.0, square)
    a = jnp.where(tiny, 1.0, jnp.sum(x * u + y * v, axis=-1) / square)
    b = jnp.where(tiny, 0.0, jnp.sum(x * v - y * u, axis=-1) / square)
    mx, my, mu, mv = (m[..., 0] for m in mean)
    shift_x = jnp.where(tiny, 0.0, mu - (a * mx - b * my))
    shift_y = jnp.where(tiny, 0.0, mv - (b * mx + a * my))
    rows = (jnp.stack([a, -b, shift_x], axis=-1), jnp.stack([b, a, shift_y], axis=-1))
    return jnp.stack(rows, axis=-2)
