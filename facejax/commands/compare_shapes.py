"""How far a reconstructed face is from a scan, in millimetres, without known correspondence.

facejax compare_shapes scan.obj face.obj --landmarks=scan.txt --face_landmarks=face.txt
facejax compare_shapes scan.ply out/photo_mesh.obj --landmarks=scan.txt --model=procedural
facejax compare_shapes truth.obj face.obj --same_vertices

Landmark files hold `x y z` per line, in the unit of the mesh file: seven points (outer and inner
corner of the right eye, inner and outer corner of the left eye, base of the nose, right and left
mouth corner: those of the NoW benchmark) or the 68; right and left are the person's. --model takes
the reconstruction's from the face model that it was made with. (facejax reconstruct writes .glb
in metres and NAME_mesh.obj, as the originals, in dm: --face_unit=dm.)

now: distances of the scan's points to the reconstruction after alignment by seven landmarks and ICP
with scale, around the face's middle (Sanyal et al. 2019). micc: mean distance to the nearest
triangles' planes within 95 mm of the nose (Deng et al. 2019, section 5.2). vertices: mean distance
of corresponding vertices after rigid alignment, with --same_vertices.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

from facejax.commands.common import folder_of, prepare, report_errors
from facejax.host.errors import UsageError
from facejax.host.files import atomic_path

_NOSE_BASE, _NOSE_TIP = 4, 30  # of seven points; of 68
_MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0}


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("scan", help=".obj, .ply or .glb: the truth")
    p.add_argument("face", help=".obj, .ply or .glb: the reconstruction")
    p.add_argument("--landmarks", help="of the scan, a text file")
    p.add_argument("--face_landmarks", help="of the reconstruction, a text file")
    p.add_argument("--model", help="face model of the reconstruction, instead of a file")
    for name, of in (("--unit", "scan"), ("--face_unit", "reconstruction")):
        p.add_argument(name, choices=tuple(_MM_PER_UNIT), default="mm",
                       help=f"of the {of} and its landmarks; .glb is metres (mm)")  # fmt: skip
    p.add_argument("--same_vertices", action="store_true",
                   help="vertex k of one mesh is vertex k of the other")  # fmt: skip
    p.add_argument("--radius_mm", type=float, default=95.0, help="of micc's ball (95)")
    p.add_argument("--out", help="a .json to write")
    return p


def read_points(path: str):
    """Seven or 68 points [N, 3] of a text file.

    Raises:
      ValueError: another number of points, or no such file.
    """
    import numpy as np

    try:
        points = np.loadtxt(path, ndmin=2, encoding="utf-8")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: no list of points ({error}); wanted 'x y z' per line") from error
    if points.shape not in ((7, 3), (68, 3)):
        raise ValueError(f"{path}: found {points.shape} numbers, wanted (7, 3) or (68, 3)")
    return points


def seven_and_nose(points):
    """The benchmark's seven points, and the middle of micc's ball."""
    from facejax.metrics.reconstruction import NOW_LANDMARKS

    if len(points) == 68:
        return points[NOW_LANDMARKS], points[_NOSE_TIP]
    return points, points[_NOSE_BASE]


def compare(args: argparse.Namespace) -> dict:
    """The figures, JSON-able."""
    import numpy as np

    from facejax.metrics import reconstruction as measures

    truth, _ = _read(args.scan, args.unit)
    vertices, triangles = _read(args.face, args.face_unit)
    if args.same_vertices:
        if truth.shape != vertices.shape:
            raise ValueError(
                f"--same_vertices: found {len(truth)} and {len(vertices)} vertices, wanted equally "
                "many; compare with --landmarks instead"
            )
        error = measures.vertex_error(vertices, truth)
        return {"vertices": {"mean_mm": float(error)}}
    marks = _mm_per_unit(args.scan, args.unit) * read_points(args.landmarks)
    seven, nose = seven_and_nose(marks)
    own, _ = seven_and_nose(_face_points(args, vertices))
    near, plane = measures.scan_distances(
        truth, seven, nose, vertices, triangles, own, args.radius_mm
    )
    return {
        "now": {
            "median_mm": float(np.median(near)),
            "mean_mm": float(near.mean()),
            "std_mm": float(near.std()),
            "points": len(near),
        },
        "micc": {"mean_mm": plane},
    }


def _is_glb(path: str) -> bool:
    return pathlib.Path(path).suffix.lower() in (".glb", ".gltf")


def _mm_per_unit(path: str, unit: str) -> float:
    return _MM_PER_UNIT["m" if _is_glb(path) else unit]


def _read(path: str, unit: str):
    """Vertices [V, 3] in millimetres, and triangles."""
    import numpy as np

    from facejax.io.meshes import load_mesh

    mesh = load_mesh(path)
    # the reader takes .glb for metres, and all others for millimetres
    factor = 1.0 if _is_glb(path) else _MM_PER_UNIT[unit]
    return factor * np.asarray(mesh.vertices, np.float64), np.asarray(mesh.topology.triangles)


def _face_points(args, vertices):
    import numpy as np

    if args.face_landmarks:
        return _mm_per_unit(args.face, args.face_unit) * read_points(args.face_landmarks)
    from facejax.morphable import load_morphable

    model = load_morphable(args.model)
    if model.num_vertices != len(vertices):
        raise ValueError(
            f"{args.face}: found {len(vertices)} vertices, wanted {model.num_vertices} as "
            f"the model {args.model}; give --face_landmarks"
        )
    return vertices[np.asarray(model.topology.landmarks68)]


def run(args: argparse.Namespace) -> int:
    """Does the work; returns the exit code."""
    if not args.same_vertices and not (args.landmarks and (args.face_landmarks or args.model)):
        raise UsageError(
            "wanted --landmarks=FILE and --face_landmarks=FILE or --model=MODEL, or --same_vertices"
        )
    prepare([folder_of(args.out)])
    found = compare(args)
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
