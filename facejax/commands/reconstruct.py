"""One photo in, a textured 3D face out; or a folder of photos.

facejax reconstruct --method=fit --input=photo.jpg --out=faces
facejax reconstruct --weights=runs/deep3d --input=photos --out=faces [--refine]

Landmarks lie beside the photo, NAME.txt: five lines `x y` (y down): eye on the image's left, eye on
its right, nose tip, mouth corner on the left, on the right; or 68 points. For every photo: NAME.glb
(texture from the photo), NAME_mesh.obj (vertex colours), pictures of crop and whole photo, .json
and .mat of the coefficients.
Exit codes: 0 done; 1 some photos were left out; 2 a wrong command.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

from facejax.commands.common import prepare, report_errors
from facejax.host.errors import UsageError
from facejax.host.flags import COUNT, POSITIVE


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--input", required=True, help="photo, or folder of photos")
    p.add_argument("--out", required=True, help="folder for the results")
    p.add_argument("--landmarks", help="file, or folder of NAME.txt; default: beside the photo")
    p.add_argument("--method", choices=("network", "fit"), default="network",
                   help="fit needs no trained network (network)")  # fmt: skip
    p.add_argument("--weights", help="run folder of configs/deep3d.py, or imported R-Net (.npz)")
    p.add_argument("--model", help="face model: procedural, a path (ICT-FaceKit, "
                   "BFM_model_front.mat, ...); default: the run's, or procedural")  # fmt: skip
    p.add_argument("--refine", action="store_true", help="fit on from the network's coefficients")
    p.add_argument("--steps", type=COUNT, default=120, help="of the fit through the renderer (120)")
    p.add_argument("--neutral", action="store_true",
                   help="meshes in canonical pose, without expression")  # fmt: skip
    p.add_argument("--same_person", action="store_true",
                   help="all photos show one person: one identity for them")  # fmt: skip
    p.add_argument("--outputs", default="glb,obj,overlay,mat,json",
                   help="files to write (%(default)s); also: render (the head alone), "
                   "textured_obj, texture")  # fmt: skip
    p.add_argument("--texture", choices=("photo", "albedo"), default="photo",
                   help="albedo divides the photo by the fitted light (photo)")  # fmt: skip
    p.add_argument("--texture_size", type=int, default=1024, help="pixels on a side (1024)")
    p.add_argument("--batch_size", type=POSITIVE, default=8, help="photos per network call (8)")
    p.add_argument("--nme", action="store_true",
                   help="--input is a folder in the format of AFLW2000-3D: measure the landmarks, "
                   "into OUT/nme.json, and write nothing else")  # fmt: skip
    p.add_argument("--no_check", action="store_true", help="take landmarks that look wrong, too")
    return p


def main(argv: Sequence[str], program: str = "facejax reconstruct") -> int:
    """Runs the command; returns the exit code."""
    args = parser(program).parse_args(list(argv))
    return report_errors(
        lambda: _run(args), "What was written until then is whole", "use a smaller --batch_size"
    )


def _check(args) -> None:
    if args.method == "network" and not args.weights:
        raise UsageError(
            "--method=network needs --weights=RUN_OR_FILE; --method=fit needs no network"
        )
    if args.method == "fit" and args.weights:
        raise UsageError(
            "--method=fit uses no --weights; leave one of them away, or use --refine without "
            "--method to fit on from the network's coefficients"
        )
    if args.refine and args.method == "fit":
        raise UsageError("--refine starts from a network: give --weights, not --method=fit")


def _run(args) -> int:
    _check(args)
    prepare([args.out])
    from facejax.morphable import load_morphable
    from facejax.pipelines import reconstruct as rec
    from facejax.pipelines.fit import FitOptions
    from facejax.pipelines.reconstruction_files import FileOptions
    from facejax.pipelines.regressors import load_regressor

    outputs = tuple(name.strip() for name in args.outputs.split(",") if name.strip())
    files = FileOptions(outputs, args.texture, args.texture_size, args.neutral)
    inputs = [] if args.nme else rec.find_inputs(args.input)
    options = FitOptions(photo_steps=args.steps)
    if args.method == "fit":
        reconstructor = rec.Reconstructor(
            load_morphable(args.model or "procedural"), options=options
        )
    else:
        regressor = load_regressor(args.weights, args.model)
        reconstructor = rec.Reconstructor(
            None, regressor, args.refine, options, min(args.batch_size, len(inputs) or 8)
        )
    if args.nme:
        return _measure(reconstructor, args)
    if len(inputs) == 1:  # its error is the command's
        rec.read_photo(inputs[0], args.landmarks, not args.no_check)
    summary = rec.reconstruct_photos(
        reconstructor,
        inputs,
        args.out,
        landmarks=args.landmarks,
        check_points=not args.no_check,
        same_person=args.same_person,
        files=files,
    )
    print(f"{len(summary.written)} face(s) in {args.out}, {len(summary.failed)} photo(s) left out")
    for paths in list(summary.written.values())[:1]:
        print(f"Look at: {', '.join(str(p) for p in paths)}")
    return 1 if summary.failed else 0


def _measure(reconstructor, args) -> int:
    from facejax.host.files import atomic_path
    from facejax.pipelines.landmark_nme import aflw_nme
    from facejax.train.describe import figure_rows, format_table
    from facejax.train.evaluation import finite_figures

    figures = finite_figures(aflw_nme(reconstructor, args.input, args.landmarks), args.input)
    out = pathlib.Path(args.out) / "nme.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as path:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(format_table(figure_rows(figures)))
    print(f"also in {out}")
    return 0
