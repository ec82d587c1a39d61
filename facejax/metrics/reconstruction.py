"""How good a reconstruction is: landmarks in the photo, the surface in millimetres, pose.

All on the host, in float64.
"""

import dataclasses

import numpy as np

from facejax.geometry.nearest import NearestTriangles
from facejax.geometry.rotations import euler_to_matrix
from facejax.metrics.plausibility import check_finite, check_landmark_sets, check_radians

YAW_BINS_DEG = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.0))
NOW_LANDMARKS = np.array([36, 39, 42, 45, 33, 48, 54])  # of the 68: eye corners, nose base, mouth


def nme(predicted: np.ndarray, target: np.ndarray, normalizer: str = "box") -> np.ndarray:
    """Normalised mean error of landmarks: mean distance over the size of the face.

    Args:
      predicted: [..., 68, 2] pixels.
      target: [..., 68, 2] pixels, same y direction.
      normalizer: 'box': sqrt(width * height) of the tight box of the target's points (the protocol
        of AFLW2000-3D); 'eyes': distance of the outer eye corners (300W).

    Returns:
      [...], a share: 0.03 is 3 %.

    Raises:
      ValueError: another shape or normalizer, a face of no size, or see
        `plausibility.check_landmark_sets`.
    """
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    if predicted.shape != target.shape or target.shape[-2:] != (68, 2):
        raise ValueError(
            f"found landmarks of shapes {predicted.shape} and {target.shape}, wanted [..., 68, 2] "
            "twice"
        )
    check_landmark_sets(predicted, target)
    distance = np.linalg.norm(predicted - target, axis=-1).mean(axis=-1)
    if normalizer == "box":
        size = np.sqrt(np.prod(np.ptp(target, axis=-2), axis=-1))
    elif normalizer == "eyes":
        size = np.linalg.norm(target[..., 36, :] - target[..., 45, :], axis=-1)
    else:
        raise ValueError(f"found the normalizer {normalizer!r}, wanted 'box' or 'eyes'")
    lost = np.flatnonzero(size.reshape(-1) <= 0)
    if len(lost):
        raise ValueError(
            f"face {lost[0]} (counted from 0): its true landmarks have no size ({normalizer}), so "
            "an error in shares of it is not defined"
        )
    return distance / size


def nme_by_yaw(errors: np.ndarray, yaw_rad: np.ndarray) -> dict[str, float]:
    """Mean errors per yaw bin, as tables of AFLW2000-3D print them.

    Args:
      errors: [N], from `nme`.
      yaw_rad: [N] of the ground truth; |yaw| in [0, 30], (30, 60], (60, 90] degrees make the bins,
        and what turns further falls into the last.

    Returns:
      '0-30', '30-60', '60-90': mean of each bin (NaN where it is empty); 'overall': mean of the
      bins' means, which is what published tables call so, over bins with faces; 'mean': over all
      faces; 'count_...': faces per bin.

    Raises:
      ValueError: no faces, errors that are not finite, or yaws in degrees.
    """
    errors = np.asarray(errors, np.float64)
    yaw = np.abs(np.degrees(np.asarray(yaw_rad, np.float64)))
    if errors.shape != yaw.shape or errors.ndim != 1 or not len(errors):
        raise ValueError(
            f"found errors {errors.shape} and yaws {yaw.shape}, wanted [N] twice, N > 0"
        )
    check_finite(errors, "landmark errors")
    check_radians(yaw_rad, "yaws")
    upper = np.array([high for _, high in YAW_BINS_DEG[:-1]])
    place = np.searchsorted(upper, yaw, side="left")
    out, counts = {}, {}
    for k, (low, high) in enumerate(YAW_BINS_DEG):
        mine = errors[place == k]
        out[f"{low:g}-{high:g}"] = float(mine.mean()) if len(mine) else float("nan")
        counts[f"count_{low:g}-{high:g}"] = len(mine)
    overall = float(np.nanmean(list(out.values())))
    return out | {"overall": overall, "mean": float(errors.mean())} | counts


@dataclasses.dataclass(frozen=True)
class Alignment:
    """x -> scale * rotation @ x + translation; batch dims lead.

    Attributes:
      scale: [...].
      rotation: [..., 3, 3].
      translation: [..., 3].
    """

    scale: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """[..., N, 3] -> [..., N, 3]."""
        turned = np.einsum("...ij,...nj->...ni", self.rotation, points)
        return self.scale[..., None, None] * turned + self.translation[..., None, :]

    def then(self, other: "Alignment") -> "Alignment":
        """First this one, then the other."""
        moved = np.einsum("...ij,...j->...i", other.rotation, self.translation)
        return Alignment(
            self.scale * other.scale,
            other.rotation @ self.rotation,
            other.scale[..., None] * moved + other.translation,
        )

    @classmethod
    def identity(cls) -> "Alignment":
        """Changes nothing."""
        return cls(np.array(1.0), np.eye(3), np.zeros(3))


def align(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None, scale: bool = False
) -> Alignment:
    """The rigid motion, or similarity, that brings points nearest to others (Umeyama 1991).

    Args:
      source: [..., N, 3].
      target: [..., N, 3]; point k belongs to point k.
      weights: [N] or [..., N], at least 0; None counts all alike. Points of weight 0 may be
        anything.
      scale: fit an isotropic scale too.

    Returns:
      Never a reflection.

    Raises:
      ValueError: other shapes, no points, weights that are negative or sum to 0, or points that are
        not finite.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    w = np.ones(source.shape[:-1]) if weights is None else np.asarray(weights, np.float64)
    if source.shape != target.shape or source.shape[-1:] != (3,) or not source.shape[-2]:
        raise ValueError(
            f"found points {source.shape} and {target.shape}, wanted [..., N, 3] twice, N > 0"
        )
    w = np.broadcast_to(w, source.shape[:-1])
    if not ((w >= 0).all() and (w.sum(axis=-1) > 0).all()):
        raise ValueError("found weights that are negative or all 0, wanted some above 0")
    source, target = (np.where(w[..., None] > 0, p, 0.0) for p in (source, target))
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("found points that are not finite, wanted numbers: nothing fits them")
    w = (w / w.sum(axis=-1, keepdims=True))[..., None]
    middle_a, middle_b = ((w * p).sum(axis=-2, keepdims=True) for p in (source, target))
    a, b = source - middle_a, target - middle_b
    u, singular, vt = np.linalg.svd(np.einsum("...ni,...nj->...ij", w * b, a))
    sign = np.ones_like(singular)
    sign[..., 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[..., None, :]) @ vt
    size = np.ones(source.shape[:-2])
    if scale:
        size = (singular * sign).sum(axis=-1) / np.maximum((w * a * a).sum(axis=(-2, -1)), 1e-300)
    moved = size[..., None] * np.einsum("...ij,...j->...i", rotation, middle_a[..., 0, :])
    return Alignment(np.asarray(size), rotation, middle_b[..., 0, :] - moved)


def vertex_error(
    predicted: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray | None = None,
    scale: bool = False,
) -> np.ndarray:
    """Mean distance of corresponding vertices after rigid alignment, [...], in their unit.

    Args:
      predicted: [..., V, 3].
      target: [..., V, 3] of the same topology.
      weights: [V] region that is aligned and measured; None takes all vertices. Vertices of weight
        0 may be anything.
      scale: align with an isotropic scale too.

    Raises:
      ValueError: see `align`.
    """
    weights = np.ones(np.shape(target)[-2]) if weights is None else np.asarray(weights, np.float64)
    moved = align(predicted, target, weights, scale).apply(np.asarray(predicted, np.float64))
    distance = np.where(weights > 0, np.linalg.norm(moved - target, axis=-1), 0.0)
    return (distance * weights).sum(axis=-1) / weights.sum()


class _Surface:
    """A mesh whose nearest points are asked for; triangles without an area are left out.

    They have no plane: every distance to it would be 0.
    """

    def __init__(self, vertices, triangles):
        corners = np.asarray(vertices, np.float64)[np.asarray(triangles)]
        area = np.linalg.norm(_cross(corners), axis=-1)
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max(axis=-1)
        self._corners = corners[area > 1e-12 * longest**2]
        if not len(self._corners):
            raise ValueError(
                f"found {len(corners)} triangles, none with an area; wanted a surface of finite "
                "vertices"
            )
        self._nearest = NearestTriangles(self._corners)

    def near(self, points):
        """Nearest points of the mesh [N, 3], and the unit normals of their triangles [N, 3]."""
        index, weight = self._nearest.query(np.asarray(points, np.float64))
        mine = self._corners[index]
        normal = _cross(mine)
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        return np.einsum("nk,nkc->nc", weight, mine), normal / np.maximum(length, 1e-300)


def _cross(corners):
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def scan_to_mesh(scan: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance of scan points to the nearest point of a surface, [N]; exact.

    Args:
      scan: [N, 3].
      vertices: [V, 3] in the same frame and unit.
      triangles: [F, 3].
    """
    return np.linalg.norm(scan - _Surface(vertices, triangles).near(scan)[0], axis=1)


def point_to_plane(scan: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance of scan points to the planes of their nearest triangles, [N]; as `scan_to_mesh`."""
    near, normal = _Surface(vertices, triangles).near(scan)
    return np.abs(np.sum((scan - near) * normal, axis=1))


def icp(
    points: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    *,
    scale: bool = False,
    initial: Alignment | None = None,
    iterations: int = 50,
    tolerance: float = 1e-5,
    keep: float = 1.0,
) -> Alignment:
    """Moves points onto a surface: iterative closest points with point-to-plane steps.

    Chen and Medioni 1992. Converges from some ten degrees away.

    Args:
      points: [N, 3], for example a scan cropped to the face.
      vertices: [V, 3] of the surface.
      triangles: [F, 3].
      scale: fit an isotropic scale too.
      initial: where to start, for example `align` of landmarks; None: as given.
      iterations: at most so many steps.
      tolerance: stop when a step moves no point by more than this share of the points' spread.
      keep: share of the points used in every step, the nearest ones; less than 1 where the surface
        does not cover all points.

    Returns:
      The motion of the points.

    Raises:
      ValueError: no points, or they shrink to nothing or turn inside out: they start too far away.
    """
    from scipy.spatial.transform import Rotation

    points = np.asarray(points, np.float64)
    if not len(points):
        raise ValueError("found no points to bring to the surface; wanted some")
    surface = _Surface(vertices, triangles)
    state = Alignment.identity() if initial is None else initial
    spread = np.linalg.norm(np.ptp(points, axis=0))
    for _ in range(iterations):
        moved = state.apply(points)
        near, normal = surface.near(moved)
        gap = np.sum((near - moved) * normal, axis=1)
        distance = np.linalg.norm(near - moved, axis=1)
        used = np.argsort(distance, kind="stable")[: max(7, int(round(keep * len(points))))]
        middle = moved[used].mean(axis=0)
        arm, direction = moved[used] - middle, normal[used]
        columns = [np.cross(arm, direction) / spread, direction]  # of like size
        if scale:
            columns.append(np.sum(arm * direction, axis=1, keepdims=True) / spread)
        step = np.linalg.lstsq(np.concatenate(columns, axis=1), gap[used], rcond=1e-6)[0]
        turn = Rotation.from_rotvec(step[:3] / spread).as_matrix()
        size = np.array(1.0 + step[6] / spread if scale else 1.0)
        if not size > 0:
            raise ValueError(
                "the alignment by ICP fails: the points do not resemble the surface near which they"
                " start"
            )
        shift = middle + step[3:6] - size * turn @ middle
        following = state.then(Alignment(size, turn, shift))
        change = np.abs(following.apply(points) - moved).max()
        state = following
        if change < tolerance * spread:
            break
    return state


def cropped_point_to_plane(
    scan: np.ndarray,
    center: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    radius_mm: float = 95.0,
    initial: Alignment | None = None,
    max_points: int = 2000,
) -> float:
    """Mean point-to-plane distance, mm, of a scan around the nose tip: the protocol of MICC.

    The scan is cut to a ball around the nose tip, then aligned by ICP with isotropic scale (Deng et
    al. 2019, section 5.2).

    Args:
      scan: [N, 3] mm.
      center: [3] mm, the scan's nose tip.
      vertices: [V, 3] of the reconstruction, mm.
      triangles: [F, 3].
      radius_mm: of the ball.
      initial: scan to reconstruction, to start from.
      max_points: of the scan used for the alignment; all are measured.

    Raises:
      ValueError: no point of the scan is so near.
    """
    scan = np.asarray(scan, np.float64)
    near = scan[np.linalg.norm(scan - center, axis=1) <= radius_mm]
    if not len(near):
        raise ValueError(
            f"no point of the scan lies within {radius_mm:g} mm of the nose; is its unit mm?"
        )
    some = near[:: max(1, len(near) // max_points)]
    motion = icp(some, vertices, triangles, scale=True, initial=initial)
    return float(point_to_plane(motion.apply(near), vertices, triangles).mean() / motion.scale)


def now_region(scan: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Scan points that the NoW benchmark measures, [N] bool: a ball around the face's middle.

    Sanyal et al. 2019 (arXiv 1905.06817), evaluation code.

    Args:
      scan: [N, 3].
      landmarks: [7, 3] of the scan: outer and inner corner of the right eye, inner and outer corner
        of the left eye, base of the nose, right and left mouth corner (`NOW_LANDMARKS` of 68).
    """
    bridge = (landmarks[1] + landmarks[2]) / 2
    center = landmarks[4] + 0.3 * (bridge - landmarks[4])
    eyes = np.linalg.norm(landmarks[0] - landmarks[3])
    radius = 1.4 * (eyes + np.linalg.norm(bridge - landmarks[4])) / 2
    return np.linalg.norm(scan - center, axis=1) <= radius


def now_distances(
    scan: np.ndarray,
    scan_landmarks: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    max_points: int = 2000,
) -> np.ndarray:
    """Scan-to-mesh distances as the NoW benchmark measures them, [M] mm.

    The reconstruction is brought to the scan by seven landmarks with scale, then refined by ICP of
    the measured region with scale. The benchmark's figures are median, mean and standard deviation
    of the distances of all scans together.

    Args:
      scan: [N, 3] mm.
      scan_landmarks: [7, 3] mm, see `now_region`.
      vertices: [V, 3] of the reconstruction, any unit.
      triangles: [F, 3].
      landmarks: [7, 3] of the reconstruction.
      max_points: of the scan used for the refinement; all are measured.

    Raises:
      ValueError: no point of the scan lies around the middle of the landmarks.
    """
    scan = np.asarray(scan, np.float64)
    scan_landmarks = np.asarray(scan_landmarks, np.float64)
    vertices = align(landmarks, scan_landmarks, scale=True).apply(np.asarray(vertices, np.float64))
    region = scan[now_region(scan, scan_landmarks)]
    if not len(region):
        raise ValueError(
            "no point of the scan lies around the middle of its landmarks; are both in one frame?"
        )
    some = region[:: max(1, len(region) // max_points)]
    motion = icp(some, vertices, triangles, scale=True)
    return scan_to_mesh(motion.apply(region), vertices, triangles) / motion.scale


def scan_distances(
    scan: np.ndarray,
    scan_landmarks: np.ndarray,
    nose_tip: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    radius_mm: float = 95.0,
    max_points: int = 2000,
) -> tuple[np.ndarray, float]:
    """`now_distances` and `cropped_point_to_plane` of one face, which starts from the landmarks.

    Args:
      scan: [N, 3] mm.
      scan_landmarks: [7, 3] mm, see `now_region`.
      nose_tip: [3] mm, the scan's.
      vertices: [V, 3] of the reconstruction, any unit: both measures fit its scale.
      triangles: [F, 3].
      landmarks: [7, 3] of the reconstruction.
      radius_mm: of the ball around the nose tip.
      max_points: of the scan used for the alignments; all are measured.
    """
    near = now_distances(scan, scan_landmarks, vertices, triangles, landmarks, max_points)
    # in the unit and place of the scan: the tolerances of the alignment are in millimetres
    vertices = align(landmarks, scan_landmarks, scale=True).apply(np.asarray(vertices, np.float64))
    plane = cropped_point_to_plane(
        scan, nose_tip, vertices, triangles, radius_mm, max_points=max_points
    )
    return near, plane


def coefficient_correlation(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pearson correlation over faces of every coefficient, [D]; NaN where one does not vary.

    NaN too for fewer than three faces: two always lie on a line.

    Args:
      predicted: [N, D].
      target: [N, D].
    """
    if len(predicted) < 3:
        return np.full(np.shape(predicted)[1], np.nan)
    a, b = (
        np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64)
        for x in (predicted, target)
    )
    scale = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return np.divide(
        (a * b).sum(axis=0), scale, out=np.full(a.shape[1], np.nan), where=scale > 1e-12
    )


def pose_error_deg(predicted_rad: np.ndarray, target_rad: np.ndarray) -> dict[str, np.ndarray]:
    """Errors of pose angles, [...] degrees each.

    Args:
      predicted_rad: [..., 3] about x, y, z, Deep3D's order (`decoder.rotation`).
      target_rad: [..., 3], at most a full turn each.

    Returns:
      'pitch', 'yaw', 'roll': absolute differences, the short way round; 'rotation': the angle
      between both rotations.

    Raises:
      ValueError: the truth seems to be in degrees.
    """
    check_radians(target_rad, "true pose angles")
    predicted, target = np.asarray(predicted_rad, np.float64), np.asarray(target_rad, np.float64)
    difference = np.degrees(np.abs((predicted - target + np.pi) % (2 * np.pi) - np.pi))
    first, second = (np.asarray(euler_to_matrix(a, "xyz"), np.float64) for a in (predicted, target))
    relative = np.swapaxes(first, -1, -2) @ second
    sine = np.linalg.norm(relative - np.swapaxes(relative, -1, -2), axis=(-2, -1)) / np.sqrt(2)
    angle = np.degrees(np.arctan2(sine, np.trace(relative, axis1=-2, axis2=-1) - 1))
    names = ("pitch", "yaw", "roll")
    return {n: difference[..., i] for i, n in enumerate(names)} | {"rotation": angle}
