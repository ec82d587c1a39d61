"""How far a reconstructed face is from a scan, in millimetres, without known correspondence.

facejax compare_shapes scan.obj face.obj --landmarks=scan.txt --face_landmarks=face.txt
facejax compare_shapes scan.ply out/photo_mesh.obj --landmarks=scan.txt --model=procedural
facejax compare_shapes truth.obj face.obj --same_vertices

Landmark files (.txt, .npy, ...) hold `x y z` per line, in the unit of the mesh file: seven points
(outer and inner corner of the right eye, inner and outer corner of the left eye, base of the nose,
right and left mouth corner: those of the NoW benchmark) or the 68; right and left are the person's.
--model takes the reconstruction's from the face model that it was made with. (facejax reconstruct
writes .glb in metres and NAME_mesh.obj, as the originals, in dm: --face_unit=dm.)

now: distances of the scan's points to the reconstruction after alignment by seven landmarks and ICP
with scale, around the face's middle (Sanyal et al. 2019). micc: mean distance to the nearest
triangles' planes within 95 mm of the nose (Deng et al. 2019, section 5.2). vertices: mean distance
of corresponding vertices after rigid alignment, with --same_vertices. How a file splits its
vertices (flat normals, UV seams) changes no figure: every position counts once. Sizes, order and
place of the landmarks are checked, and what cannot be a face is refused.
"""

import argparse
import json
import logging
import math
import pathlib
from collections.abc import Sequence

from facejax.commands.common import folder_of, prepare, report_errors
from facejax.host.errors import UsageError
from facejax.host.files import atomic_path

_NOSE_BASE, _NOSE_TIP = 4, 30  # of seven points; of 68
_UNITS = ("mm", "cm", "dm", "m")
_USUAL_MM = 10.0  # methods and people apart differ by 1 to 3 mm in the NoW benchmark's median
_log = logging.getLogger(__name__)


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("scan", help=".obj, .ply or .glb: the truth")
    p.add_argument("face", help=".obj, .ply or .glb: the reconstruction")
    p.add_argument("--landmarks", help="of the scan, a text file, .npy, ...")
    p.add_argument("--face_landmarks", help="of the reconstruction, likewise")
    p.add_argument("--model", help="face model of the reconstruction, instead of a file")
    for name, of in (("--unit", "scan"), ("--face_unit", "reconstruction")):
        p.add_argument(name, choices=_UNITS, default="mm",
                       help=f"of the {of} and its landmarks; .glb is metres (mm)")  # fmt: skip
    p.add_argument("--same_vertices", action="store_true",
                   help="vertex k of one mesh is vertex k of the other")  # fmt: skip
    p.add_argument("--radius_mm", type=float, default=95.0, help="of micc's ball (95)")
    p.add_argument("--out", help="a .json to write")
    return p


def seven_and_nose(points):
    """The benchmark's seven points, and the middle of micc's ball."""
    from facejax.metrics.reconstruction import NOW_LANDMARKS

    if len(points) == 68:
        return points[NOW_LANDMARKS], points[_NOSE_TIP]
    return points, points[_NOSE_BASE]


def compare(args: argparse.Namespace) -> dict:
    """The figures, JSON-able.

    Raises:
      ValueError: a file cannot be read, or no face in millimetres comes of it.
    """
    from facejax.io.surfaces import read_surface

    scan, face = (
        read_surface(path).scaled(_factor(path, unit))
        for path, unit in ((args.scan, args.unit), (args.face, args.face_unit))
    )
    if args.same_vertices:
        return _same_vertices(scan, face, args)
    return _by_landmarks(scan, face, args)


def _same_vertices(scan, face, args) -> dict:
    from facejax.metrics import plausibility
    from facejax.metrics.reconstruction import vertex_error

    for surface, flag, unit in (
        (scan, "--unit", args.unit), (face, "--face_unit", args.face_unit),
    ):  # fmt: skip
        plausibility.check_extent(
            surface.vertices[surface.used], str(surface.path), _flag(surface.path, flag), unit
        )
    truth, found = _corresponding(scan, face)
    plausibility.check_correspondence(found, truth, (args.face, args.scan))
    return {"vertices": {"mean_mm": float(vertex_error(found, truth)), "points": len(truth)}}


def _corresponding(scan, face):
    """Positions that belong together, [N, 3] each, every pair once.

    By their numbers in the files; where these differ, by the corners of the triangles, which stay
    in order however a file splits its vertices.
    """
    import numpy as np

    from facejax.io.surfaces import distinct_rows

    if len(scan.vertices) == len(face.vertices):
        used = scan.used | face.used
        used &= np.isfinite(scan.vertices).all(axis=1) & np.isfinite(face.vertices).all(axis=1)
        pairs = np.concatenate([scan.vertices[used], face.vertices[used]], axis=1)
    elif len(scan.triangles) == len(face.triangles):
        corners = (s.vertices[s.triangles].reshape(-1, 3) for s in (scan, face))
        pairs = np.concatenate(list(corners), axis=1)
    else:
        raise ValueError(
            f"--same_vertices: found {len(scan.vertices)} vertices and {len(scan.triangles)} "
            f"triangles in {scan.path}, {len(face.vertices)} and {len(face.triangles)} in "
            f"{face.path}, wanted equally many of either; compare with --landmarks instead"
        )
    pairs = pairs[distinct_rows(pairs)[0]]
    return pairs[:, :3], pairs[:, 3:]


def _by_landmarks(scan, face, args) -> dict:
    import numpy as np

    from facejax.io.landmarks import read_landmarks
    from facejax.metrics import plausibility
    from facejax.metrics.reconstruction import scan_distances

    points = _factor(args.scan, args.unit) * read_landmarks(args.landmarks, (7, 68), dims=3)
    if args.face_landmarks:
        own = read_landmarks(args.face_landmarks, (7, 68), dims=3)
        own, source = _factor(args.face, args.face_unit) * own, args.face_landmarks
    else:
        own, source = _model_points(args.model, face), f"{args.face} with --model={args.model}"
    scan, face = scan.welded(), face.welded()
    for marks, what, surface in ((points, args.landmarks, scan), (own, source, face)):
        plausibility.check_on_surface(marks, surface.vertices, str(what), str(surface.path))
        plausibility.check_seven_points(seven_and_nose(marks)[0], str(what))
    seven, nose = seven_and_nose(points)
    plausibility.check_eyes(seven, args.landmarks, _flag(args.scan, "--unit"), args.unit)
    near, plane = scan_distances(
        scan.vertices, seven, nose, face.vertices, face.triangles, seven_and_nose(own)[0],
        args.radius_mm,
    )  # fmt: skip
    return {
        "now": {
            "median_mm": float(np.median(near)),
            "mean_mm": float(near.mean()),
            "std_mm": float(near.std()),
            "points": len(near),
        },
        "micc": {"mean_mm": plane},
    }


def _is_gltf(path) -> bool:
    return pathlib.Path(path).suffix.lower() in (".glb", ".gltf")


def _factor(path, unit: str) -> float:
    """From the unit of a mesh file and of its landmarks to millimetres."""
    from facejax.metrics.plausibility import MM_PER_UNIT

    return MM_PER_UNIT["m" if _is_gltf(path) else unit]


def _flag(path, flag: str) -> str:
    return "" if _is_gltf(path) else flag


def _model_points(name: str, face):
    """The 68 landmarks of a face that has the triangles of a model."""
    import numpy as np

    from facejax.morphable import load_morphable

    topology = load_morphable(name, on_host=True).topology
    triangles, vertices = topology.mesh.triangles, face.vertices
    if len(vertices) != topology.mesh.num_vertices:
        if len(face.triangles) != len(triangles):
            raise ValueError(
                f"{face.path}: found {len(vertices)} vertices and {len(face.triangles)} triangles, "
                f"wanted {topology.mesh.num_vertices} or {len(triangles)} as the model {name}; "
                "give --face_landmarks"
            )
        # the file splits its vertices: found again at the corners of the model's triangles
        vertices = np.zeros((topology.mesh.num_vertices, 3))
        vertices[triangles.reshape(-1)] = face.vertices[face.triangles.reshape(-1)]
    return vertices[np.asarray(topology.landmarks68)]


def _checked(found: dict) -> dict:
    """The figures, if they are lengths; what is far from usual is said."""
    for measure, figures in found.items():
        for name, value in figures.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"{measure}: {name} came out as {value:.4g}, which is no distance: the "
                    "alignment failed; look at both meshes and their landmarks"
                )
        typical = figures.get("median_mm", figures["mean_mm"])
        if typical > _USUAL_MM:
            _log.warning(
                "%s: %.4g mm is far; faces of different people are 1 to 3 mm apart, so look at "
                "both meshes and their landmarks", measure, typical,
            )  # fmt: skip
    return found


def run(args: argparse.Namespace) -> int:
    """Does the work; returns the exit code."""
    if not args.same_vertices and not (args.landmarks and (args.face_landmarks or args.model)):
        raise UsageError(
            "wanted --landmarks=FILE and --face_landmarks=FILE or --model=MODEL, or --same_vertices"
        )
    prepare([folder_of(args.out)])
    if not (math.isfinite(args.radius_mm) and args.radius_mm > 0):
        raise UsageError(f"--radius_mm={args.radius_mm:g}: wanted a length in millimetres above 0")
    found = _checked(compare(args))
    for name, figures in found.items():
        print(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
    if args.out:
        with atomic_path(args.out) as path:
            path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def main(argv: Sequence[str], program: str = "facejax compare_shapes") -> int:
    """Runs the command; returns the exit code."""
    args = parser(program).parse_args(list(argv))
    return report_errors(lambda: run(args))
