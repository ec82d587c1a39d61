"""Faces from a trained TBGAN run: UV maps, textured meshes, pictures, videos.

python launch/generate.py --workdir=runs/tbgan --num=8 --seed=0 [--expression=happy] --out=faces
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
    p.add_argument("--workdir", required=True, help="folder of a trained run")
    p.add_argument("--out", required=True, help="folder that the files go to")
    p.add_argument("--num", type=int, default=8, help="number of faces (8)")
    p.add_argument("--seed", type=int, default=0, help="face k depends only on (seed, k) (0)")
    p.add_argument("--expression", help="neutral, happy, ...; by default all in turn")
    p.add_argument("--format", default="glb", help="comma-separated: glb, obj, ply (glb)")
    p.add_argument("--interpolate", action="store_true", help="also a latent interpolation video")
    p.add_argument(
        "--expression-sweep", action="store_true", help="also a video of one face's expressions"
    )
    p.add_argument("--frames", type=int, default=96, help="length of the interpolation (96)")
    p.add_argument("--size", type=int, default=256, help="of the videos, pixels (256)")
    return p


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from facejax.systems.tbgan.generate import generate_faces, load_run

        first = generate_faces(
            load_run(args.workdir),
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
        print(f"{args.num} face(s) in {args.out}. Look at: {', '.join(map(str, first))}")
        return 0

    return cli.run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
