"""Makes synthetic faces with ground truth: pictures, masks, depth, normals, landmarks, labels.

python launch/make_dataset.py --num=100 --out=faces
python launch/make_dataset.py --num=100 --sampling=manifold --workdir=runs/manifold --out=faces

Face i depends only on (seed, i); the same command again makes what is missing.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facejax import cli  # noqa: E402


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--num", "-num", type=int, default=50, help="number of faces (50)")
    p.add_argument("--out", "-out", required=True, help="folder that the files go to")
    p.add_argument("--model", default="procedural", help="face model, a name or path (procedural)")
    p.add_argument("--sampling", choices=("normal", "uniform", "manifold"), default="normal")
    p.add_argument("--workdir", default="", help="Face Manifold run, for uniform and manifold")
    p.add_argument("--range", type=float, default=10.0, help="width of uniform sampling, sd (10)")
    p.add_argument("--resolution", type=int, default=256, help="pixels on a side (256)")
    p.add_argument("--yaw_deg", type=float, default=60.0, help="largest yaw (60)")
    p.add_argument("--pitch_deg", type=float, default=20.0, help="largest pitch (20)")
    p.add_argument("--seed", type=int, default=0, help="(0)")
    p.add_argument("--num_shards", type=int, default=1, help="split over so many jobs (1)")
    p.add_argument("--shard", type=int, default=0, help="number of this job, from 0")
    return p


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from facejax.morphable import load_morphable
        from facejax.pipelines.dataset import FaceMaker, Options, write_dataset
        from facejax.systems.manifold.denoise import load_run

        if args.num < 1 or not 0 <= args.shard < args.num_shards:
            raise ValueError(
                f"wanted num >= 1 and 0 <= shard < num_shards, found num={args.num}, "
                f"shard={args.shard}, num_shards={args.num_shards}"
            )
        cli.enable_compile_cache()
        cli.setup_logging()
        options = Options(
            sampling=args.sampling,
            uniform_range=args.range,
            size=args.resolution,
            yaw_deg=args.yaw_deg,
            pitch_deg=args.pitch_deg,
            seed=args.seed,
        )
        run = load_run(args.workdir) if args.workdir else None
        maker = FaceMaker(load_morphable(args.model), options, run)
        counts = write_dataset(maker, args.out, range(args.shard, args.num, args.num_shards))
        print(
            f"{counts['written']} face(s) made, {counts['kept']} found. Look at: "
            f"{pathlib.Path(args.out) / 'contact_sheet.png'}"
        )
        return 0

    return cli.report_errors(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
