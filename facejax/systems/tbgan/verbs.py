"""What `facejax generate` and `facejax analyze` offer for runs of TBGAN."""

import argparse
import pathlib
from typing import TYPE_CHECKING

from facejax.host.flags import COUNT, POSITIVE, number
from facejax.train.verbs import Verb

if TYPE_CHECKING:
    from facejax.train.runs import Run

METRICS = "swd,ms_ssim,frechet,energy,faces"


def _generate_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", required=True, help="folder that the files go to")
    p.add_argument("--num", type=POSITIVE, default=8, help="number of faces (8)")
    p.add_argument("--seed", type=COUNT, default=0, help="face k depends only on (seed, k) (0)")
    p.add_argument("--expression", help="neutral, happy, ...; by default all in turn")
    p.add_argument("--format", default="glb", help="comma-separated: glb, obj, ply (glb)")
    p.add_argument("--interpolate", action="store_true", help="also a latent interpolation video")
    p.add_argument(
        "--expression-sweep", action="store_true", help="also a video of one face's expressions"
    )
    p.add_argument("--frames", type=POSITIVE, default=96, help="length of the interpolation (96)")
    p.add_argument("--size", type=number(int, 16), default=256, help="of the videos, pixels (256)")


def _generate(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.tbgan.generate import generate_faces

    first = generate_faces(
        run,
        args.out,
        num=args.num,
        seed=args.seed,
        expression=args.expression,
        formats=args.format.split(","),
        interpolate=args.interpolate,
        expression_sweep=args.expression_sweep,
        frames=args.frames,
        size=args.size,
    )
    print(f"{args.num} face(s) in {args.out}")
    return first


def _grid(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.io.images import write_image
    from facejax.systems.tbgan.analysis import sample_grids

    size = args.size
    if size not in ("1080p", "4k"):
        rows, cross, columns = size.partition("x")
        if not (cross and rows.isdecimal() and columns.isdecimal()):
            raise ValueError(f"--size={size}: wanted 1080p, 4k or ROWSxCOLUMNS, e.g. 4x7")
        size = int(rows), int(columns)
    grids = sample_grids(run, size, args.layout, args.seed)
    return [write_image(args.out / f"grid_{name}.png", image) for name, image in grids.items()]


def _sweep(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.io.video import write_video
    from facejax.systems.tbgan.analysis import dimension_sweep

    frames = dimension_sweep(
        run, args.dim, args.frames, span=args.span, seed=args.seed,
        expression=args.expression, size=args.pixels,
    )  # fmt: skip
    return [write_video(args.out / f"dimension_{args.dim:04d}.mp4", frames, fps=args.fps)]


def _meshes(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.tbgan.analysis import write_mesh_sequence

    written = write_mesh_sequence(
        run, args.out, args.frames, seed=args.seed,
        smoothing_frames=args.smoothing, amplify=args.amplify, suffix=args.format,
    )  # fmt: skip
    return [written[0], written[-1]]


def _progress(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.io.video import write_video
    from facejax.systems.tbgan.analysis import training_frames

    count = max(round(args.seconds * args.fps), 1)
    frames = training_frames(run.folder, count, name=args.name, time_warp=args.time_warp)
    return [write_video(args.out / f"training_{args.name}.mp4", frames, fps=args.fps)]


def _fit(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.tbgan.inversion import write_fit

    try:
        index = [int(k) for k in args.index.split(",")]
    except ValueError as error:
        raise ValueError(f"--index={args.index}: wanted whole numbers: {error}") from None
    return write_fit(
        run, args.out, args.maps, index, expression=args.expression,
        steps=args.steps, seed=args.seed,
    )  # fmt: skip


def _control(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.tbgan.control import write_control
    from facejax.train.describe import format_table

    try:
        multipliers = [float(x) for x in args.multipliers.split(",")]
    except ValueError as error:
        raise ValueError(f"--multipliers={args.multipliers}: wanted numbers: {error}") from None
    rows, written = write_control(
        run, args.out, multipliers=multipliers, num=args.num, seed=args.seed
    )
    print(format_table(rows))
    return written


def _evaluate_all(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.tbgan.reports import evaluate_all
    from facejax.train.describe import format_table

    rows = evaluate_all(run.folder, args.metrics.split(","), args.inception)
    for metric, found in rows.items():
        print(f"{metric}\n{format_table(found)}")
    return [*(run.folder / f"metric-{m}.jsonl" for m in rows), run.folder / "metrics.png"]


def _out(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")


def _out_and_seed(p: argparse.ArgumentParser) -> None:
    _out(p)
    p.add_argument("--seed", type=COUNT, default=1000, help="of latents (1000)")


def _grid_flags(p: argparse.ArgumentParser) -> None:
    _out_and_seed(p)
    p.add_argument("--size", default="1080p", help="1080p, 4k or ROWSxCOLUMNS (1080p)")
    p.add_argument("--layout", choices=["random", "row_per_class"], default="random")


def _sweep_flags(p: argparse.ArgumentParser) -> None:
    _out_and_seed(p)
    p.add_argument("--dim", type=COUNT, default=3, help="component of the latent (3)")
    p.add_argument("--frames", type=POSITIVE, default=96, help="length (96)")
    p.add_argument("--fps", type=number(float, 0.01), default=24.0, help="frames per second (24)")
    p.add_argument("--span", type=number(float), default=4.0, help="from -SPAN to SPAN (4)")
    p.add_argument("--expression", help="of the face; by default the first")
    p.add_argument("--pixels", type=number(int, 16), default=256, help="size of the video (256)")


def _meshes_flags(p: argparse.ArgumentParser) -> None:
    _out_and_seed(p)
    p.add_argument("--frames", type=POSITIVE, default=150, help="number of meshes (150)")
    p.add_argument("--format", choices=["obj", "glb", "ply"], default="obj")
    p.add_argument(
        "--smoothing", type=number(float, 0), default=3.0, help="blur of the path, frames (3)"
    )
    p.add_argument("--amplify", type=number(float), default=1.0, help="factor on labels (1)")


def _progress_flags(p: argparse.ArgumentParser) -> None:
    _out(p)
    p.add_argument("--seconds", type=number(float, 0), default=20.0, help="length (20)")
    p.add_argument("--fps", type=number(float, 0.01), default=24.0, help="frames per second (24)")
    p.add_argument("--time_warp", type=number(float, 0.01), default=1.5, help="1 is steady (1.5)")
    p.add_argument("--name", default="fakes", help="which pictures of samples/ (fakes)")


def _fit_flags(p: argparse.ArgumentParser) -> None:
    _out_and_seed(p)
    p.add_argument("--maps", help="npz of `facejax generate` or npy [N,r,r,C] in network units")
    p.add_argument("--index", default="0", help="else examples of the run's own data (0)")
    p.add_argument("--expression", help="label of the fits; by default that of the example")
    p.add_argument("--steps", type=POSITIVE, default=500, help="per learning rate (500)")


def _control_flags(p: argparse.ArgumentParser) -> None:
    _out_and_seed(p)
    p.add_argument("--multipliers", default="0,0.25,0.5,0.75,1,1.5,2", help="of label_scale")
    p.add_argument("--num", type=POSITIVE, default=511, help="faces per multiplier (511)")


def _evaluate_all_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--metrics", default=METRICS, help=f"also kernel,inception ({METRICS})")
    text = "Inception-v3 (.pb of 2015-12-05, .pth, .npz) for frechet, kernel, inception"
    p.add_argument("--inception", default="", help=text)


VERBS: dict[str, Verb | dict[str, Verb]] = {
    "generate": Verb(
        "Faces: UV maps, textured meshes, pictures, videos.", _generate_flags, _generate
    ),
    "analyze": {
        "grid": Verb("One picture per modality, and rendered faces.", _grid_flags, _grid),
        "sweep": Verb("A video along one component of the latent.", _sweep_flags, _sweep),
        "meshes": Verb("Textured meshes along an interpolation.", _meshes_flags, _meshes),
        "progress": Verb(
            "A video of the pictures that training left in samples/.",
            _progress_flags,
            _progress,
            checkpoint=False,
        ),
        "fit": Verb(
            "Latents of given maps: fit.npz, a picture of targets and results, the loss curve.",
            _fit_flags,
            _fit,
        ),
        "control": Verb(
            "Expressions recovered from generated shapes, against the scale of the labels.",
            _control_flags,
            _control,
        ),
        "evaluate_all": Verb(
            "Figures of every checkpoint, and a plot.",
            _evaluate_all_flags,
            _evaluate_all,
            checkpoint=False,
        ),
    },
}
