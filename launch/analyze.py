"""Grids, sweeps, mesh sequences, inversion and figures of a trained or imported TBGAN run.

python launch/analyze.py grid --workdir=RUN --out=DIR [--size=1080p] [--layout=row_per_class]
python launch/analyze.py sweep --workdir=RUN --out=DIR [--dim=3]
python launch/analyze.py meshes --workdir=RUN --out=DIR [--frames=150] [--format=obj]
python launch/analyze.py progress --workdir=RUN --out=DIR [--seconds=20]
python launch/analyze.py fit --workdir=RUN --out=DIR [--maps=face_0000_maps.npz | --index=0,1]
python launch/analyze.py control --workdir=RUN --out=DIR [--multipliers=0,0.5,1,2]
python launch/analyze.py evaluate_all --workdir=RUN [--metrics=swd,ms_ssim]
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facejax import cli  # noqa: E402

METRICS = "swd,ms_ssim,frechet,energy,faces"


def grid(args) -> list[pathlib.Path]:
    """One picture per modality, and rendered faces."""
    from facejax.io.images import write_image
    from facejax.systems.tbgan.analysis import sample_grids
    from facejax.systems.tbgan.generate import load_run

    size = args.size
    if size not in ("1080p", "4k"):
        rows, cross, columns = size.partition("x")
        if not (cross and rows.isdecimal() and columns.isdecimal()):
            raise cli.UsageError(f"--size={size}: wanted 1080p, 4k or ROWSxCOLUMNS, e.g. 4x7")
        size = int(rows), int(columns)
    grids = sample_grids(load_run(args.workdir), size, args.layout, args.seed)
    return [write_image(args.out / f"grid_{name}.png", image) for name, image in grids.items()]


def sweep(args) -> list[pathlib.Path]:
    """A video along one component of the latent."""
    from facejax.io.video import write_video
    from facejax.systems.tbgan.analysis import dimension_sweep
    from facejax.systems.tbgan.generate import load_run

    frames = dimension_sweep(
        load_run(args.workdir), args.dim, args.frames, span=args.span, seed=args.seed,
        expression=args.expression, size=args.pixels,
    )  # fmt: skip
    return [write_video(args.out / f"dimension_{args.dim:04d}.mp4", frames, fps=args.fps)]


def meshes(args) -> list[pathlib.Path]:
    """Textured meshes along an interpolation."""
    from facejax.systems.tbgan.analysis import write_mesh_sequence
    from facejax.systems.tbgan.generate import load_run

    written = write_mesh_sequence(
        load_run(args.workdir), args.out, args.frames, seed=args.seed,
        smoothing_frames=args.smoothing, amplify=args.amplify, suffix=args.format,
    )  # fmt: skip
    return [written[0], written[-1]]


def progress(args) -> list[pathlib.Path]:
    """A video of the pictures that training left in samples/."""
    from facejax.io.video import write_video
    from facejax.systems.tbgan.analysis import training_frames

    count = max(round(args.seconds * args.fps), 1)
    frames = training_frames(args.workdir, count, name=args.name, time_warp=args.time_warp)
    return [write_video(args.out / f"training_{args.name}.mp4", frames, fps=args.fps)]


def fit(args) -> list[pathlib.Path]:
    """Latents of given maps: fit.npz, a picture of targets and results, the loss curve."""
    from facejax.systems.tbgan.generate import load_run
    from facejax.systems.tbgan.inversion import write_fit

    index = [int(k) for k in args.index.split(",")]
    return write_fit(
        load_run(args.workdir), args.out, args.maps, index, expression=args.expression,
        steps=args.steps, seed=args.seed,
    )  # fmt: skip


def control(args) -> list[pathlib.Path]:
    """Expressions recovered from generated shapes, against the scale of the labels."""
    from facejax.systems.tbgan.control import write_control
    from facejax.systems.tbgan.generate import load_run
    from facejax.train.describe import format_table

    try:
        multipliers = [float(x) for x in args.multipliers.split(",")]
    except ValueError as error:
        raise cli.UsageError(f"--multipliers={args.multipliers}: wanted numbers: {error}") from None
    rows, written = write_control(
        load_run(args.workdir), args.out, multipliers=multipliers, num=args.num, seed=args.seed
    )
    print(format_table(rows))
    return written


def evaluate_all(args) -> list[pathlib.Path]:
    """Figures of every checkpoint, and a plot."""
    from facejax.systems.tbgan.reports import evaluate_all as measure
    from facejax.train.describe import format_table

    workdir = pathlib.Path(args.workdir)
    rows = measure(workdir, args.metrics.split(","), args.inception)
    for metric, found in rows.items():
        print(f"{metric}\n{format_table(found)}")
    return [*(workdir / f"metric-{m}.jsonl" for m in rows), workdir / "metrics.png"]


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = p.add_subparsers(dest="command", required=True)

    def command(function, seed=True):
        sub = commands.add_parser(function.__name__, help=function.__doc__)
        sub.set_defaults(function=function)
        sub.add_argument("--workdir", required=True, help="folder of a run")
        if function is not evaluate_all:
            sub.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
        if seed:
            sub.add_argument("--seed", type=int, default=1000, help="of latents (1000)")
        return sub

    sub = command(grid)
    sub.add_argument("--size", default="1080p", help="1080p, 4k or ROWSxCOLUMNS (1080p)")
    sub.add_argument("--layout", choices=["random", "row_per_class"], default="random")
    sub = command(sweep)
    sub.add_argument("--dim", type=int, default=3, help="component of the latent (3)")
    sub.add_argument("--frames", type=int, default=96, help="length (96)")
    sub.add_argument("--fps", type=float, default=24.0, help="frames per second (24)")
    sub.add_argument("--span", type=float, default=4.0, help="from -SPAN to SPAN (4)")
    sub.add_argument("--expression", help="of the face; by default the first")
    sub.add_argument("--pixels", type=int, default=256, help="size of the video (256)")
    sub = command(meshes)
    sub.add_argument("--frames", type=int, default=150, help="number of meshes (150)")
    sub.add_argument("--format", choices=["obj", "glb", "ply"], default="obj")
    sub.add_argument("--smoothing", type=float, default=3.0, help="blur of the path, frames (3)")
    sub.add_argument("--amplify", type=float, default=1.0, help="factor on labels (1)")
    sub = command(progress, seed=False)
    sub.add_argument("--seconds", type=float, default=20.0, help="length (20)")
    sub.add_argument("--fps", type=float, default=24.0, help="frames per second (24)")
    sub.add_argument("--time_warp", type=float, default=1.5, help="1 is steady (1.5)")
    sub.add_argument("--name", default="fakes", help="which pictures of samples/ (fakes)")
    sub = command(fit)
    sub.add_argument("--maps", help="npz of generate.py or npy [N,r,r,C] in network units")
    sub.add_argument("--index", default="0", help="else examples of the run's own data (0)")
    sub.add_argument("--expression", help="label of the fits; by default that of the example")
    sub.add_argument("--steps", type=int, default=500, help="per learning rate (500)")
    sub = command(control)
    sub.add_argument("--multipliers", default="0,0.25,0.5,0.75,1,1.5,2", help="of label_scale")
    sub.add_argument("--num", type=int, default=511, help="faces per multiplier (511)")
    sub = command(evaluate_all, seed=False)
    sub.add_argument("--metrics", default=METRICS, help=f"also kernel,inception ({METRICS})")
    text = "Inception-v3 (.pb of 2015-12-05, .pth, .npz) for frechet, kernel, inception"
    sub.add_argument("--inception", default="", help=text)
    return p


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        print(f"wrote {', '.join(map(str, args.function(args)))}")
        return 0

    return cli.run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
