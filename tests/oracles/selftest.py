"""The numbers behind the self-test, computed without jax and without the renderer.

A float64 ray caster (Moeller and Trumbore 1997) gives triangles, barycentrics and depths;
irradiance is integrated over the hemisphere by quadrature that is exact for this light; landmarks
are plain sums over the arrays of the face model. After a change of the procedural head, write the
file anew:

    python -m tests.oracles.selftest
"""

import numpy as np
from scipy.special import sph_harm_y

from facejax import selftest
from facejax.morphable.procedural import build_procedural

SIZE = (24, 32)  # (height, width)
DISTANCE_MM, YAW, PITCH, FOV = 600.0, 0.4, -0.25, 0.35


def ellipsoid(rows=7, columns=12):
    """A closed surface without symmetry: vertices [V, 3] mm, triangles [F, 3] seen from outside."""
    lat = np.linspace(0, np.pi, rows + 1)[1:-1]
    lon = np.arange(columns) / columns * 2 * np.pi
    ring = [(np.sin(a) * np.sin(o), np.cos(a), np.sin(a) * np.cos(o)) for a in lat for o in lon]
    vertices = np.array([(0, 1, 0), *ring, (0, -1, 0)]) * (60.0, 80.0, 70.0) + (6.0, -4.0, 9.0)
    last = len(vertices) - 1
    triangles = []
    for k in range(columns):
        n = (k + 1) % columns
        triangles.append((0, 1 + k, 1 + n))
        for r in range(rows - 2):
            a, b = 1 + r * columns + k, 1 + r * columns + n
            triangles += [(a, a + columns, b + columns), (a, b + columns, b)]
        low = last - columns
        triangles.append((last, low + n, low + k))
    return vertices, np.array(triangles)


def camera_rotation():
    """Camera from object space: first about y by the yaw, then about x by the pitch."""
    c, s = np.cos(YAW), np.sin(YAW)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(PITCH), np.sin(PITCH)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return about_x @ about_y


def cast_rays(vertices, triangles):
    """(triangle_id [H, W], barycentric [H, W, 3], depth_mm [H, W]) in the camera's frame."""
    height, width = SIZE
    in_camera = vertices @ camera_rotation().T - (0, 0, DISTANCE_MM)
    ids = np.full(SIZE, -1)
    bary, depth = np.zeros((*SIZE, 3)), np.full(SIZE, np.inf)
    slope = np.tan(FOV / 2)
    for r in range(height):
        for c in range(width):
            x = ((c + 0.5) * 2 - width) / height * slope
            y = (height - (r + 0.5) * 2) / height * slope
            ray = np.array([x, y, -1.0])  # t along it is the depth
            for i, (p, q, s) in enumerate(in_camera[triangles]):
                edge1, edge2 = q - p, s - p
                h = np.cross(ray, edge2)
                det = edge1 @ h
                if abs(det) < 1e-12:
                    continue
                u = -(p @ h) / det
                k = np.cross(-p, edge1)
                v, t = (ray @ k) / det, (edge2 @ k) / det
                if min(u, v, 1 - u - v) >= 0 and 0 < t < depth[r, c]:
                    ids[r, c], bary[r, c], depth[r, c] = i, (1 - u - v, u, v), t
    return ids, bary, depth


def smooth_normals(vertices, triangles):
    """[V, 3]: the sum of the cross products around each vertex, normalised."""
    total = np.zeros_like(vertices)
    for i, j, k in triangles:
        total[[i, j, k]] += np.cross(vertices[j] - vertices[i], vertices[k] - vertices[i])
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def real_harmonics(w):
    """[..., 9] orthonormal real harmonics of directions [..., 3]; 1 y z x xy yz zz xz xx-yy."""
    theta, phi = np.arccos(np.clip(w[..., 2], -1, 1)), np.arctan2(w[..., 1], w[..., 0])

    def real(band, m):
        y = sph_harm_y(band, abs(m), theta, phi) * (-1) ** m
        return np.sqrt(2) * (y.imag if m < 0 else y.real) if m else y.real

    return np.stack([real(b, m) for b in range(3) for m in range(-b, b + 1)], axis=-1)


def irradiance(normals, sh):
    """[N, 3]: the integral of light * cosine over the hemisphere; exact for two bands."""
    cosine, weight = np.polynomial.legendre.leggauss(8)
    cosine, weight = (cosine + 1) / 2, weight / 2
    phi = np.arange(16) / 16 * 2 * np.pi
    sine = np.sqrt(1 - cosine**2)
    out = []
    for n in normals:
        side = np.cross(n, np.eye(3)[np.argmin(np.abs(n))])
        side /= np.linalg.norm(side)
        up = np.cross(n, side)
        around = np.cos(phi)[:, None] * side + np.sin(phi)[:, None] * up  # [16, 3]
        w = cosine[:, None, None] * n + sine[:, None, None] * around
        light = real_harmonics(w) @ sh  # [8, 16, 3]
        out.append(np.einsum("i,i,ijc->c", weight, cosine, light) * 2 * np.pi / len(phi))
    return np.array(out)


def landmarks_mm():
    """[68, 3] of the self-test's face."""
    arrays = build_procedural(**selftest.MODEL)
    names = [str(n) for n in arrays["exp_names"]]
    shape = arrays["mean_shape"].astype(np.float64)
    for c, std, basis in zip(selftest.ID_COEFFS, arrays["id_std"], arrays["id_basis"], strict=True):
        shape = shape + c * np.float64(std) * basis.astype(np.float64)
    for name, weight in selftest.EXPRESSION.items():
        shape = shape + weight * arrays["exp_basis"][names.index(name)].astype(np.float64)
    return shape[arrays["landmarks68"]]


def reference() -> dict[str, np.ndarray]:
    """Inputs and wanted outputs of the self-test."""
    vertices, triangles = ellipsoid()
    vertices = vertices.astype(np.float32).astype(np.float64)
    ids, bary, depth = cast_rays(vertices, triangles)
    hit = ids >= 0
    normal = np.zeros((*SIZE, 3))
    corners = smooth_normals(vertices, triangles)[triangles[ids[hit]]]
    mixed = np.einsum("nk,nkc->nc", bary[hit], corners)
    normal[hit] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    sh = np.random.default_rng(0).normal(size=(9, 3)).round(2) * 0.3 + np.eye(9, 3)
    color = np.zeros((*SIZE, 3))
    color[hit] = irradiance(normal[hit] @ camera_rotation().T, sh)
    floats = dict(
        vertices=vertices,
        camera=np.array([DISTANCE_MM, YAW, PITCH, FOV]),
        sh=sh,
        barycentric=bary,
        depth_mm=np.where(hit, depth, 0.0),
        normal=normal,
        color=color,
        landmarks_mm=landmarks_mm(),
    )
    integers = dict(triangles=triangles.astype(np.int32), triangle_id=ids.astype(np.int16))
    return {k: v.astype(np.float32) for k, v in floats.items()} | integers


if __name__ == "__main__":
    np.savez_compressed(selftest.REFERENCE, **reference())
