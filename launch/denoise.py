"""Denoises face coefficients with a trained Face Manifold: file in, file out.

python launch/denoise.py --workdir=runs/manifold --path=FILE.npz --mode=both --out=denoised

FILE holds `sp` (shape, N x n) and `ep` (expression, N x m): an .npz, the original's pickled table,
or one 300W-LP style .mat. The output, OUT/outputs.npz (--format=pkl: the original's table), has
the same arrays. The original's spellings (-mode, -path, -save_folder, -visualize) are accepted too.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facejax import cli  # noqa: E402


def boolean(text: str) -> bool:
    """'True' or 'False', in any case; also 1, 0, yes, no."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted True or False")
    return known[text.lower()]


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--workdir", "-workdir", default="runs/manifold", help="folder of the run")
    p.add_argument("--path", "-path", required=True, help=".npz, .pkl or .mat of coefficients")
    p.add_argument(
        "--out", "-out", "--save_folder", "-save_folder", default="denoised", help="(denoised)"
    )
    p.add_argument(
        "--mode", "-mode", choices=("shape", "exp", "both"), default="shape", help="(shape)"
    )
    p.add_argument(
        "--model", "-model", default="", help="BFM.mat of raw coefficients, for pictures"
    )
    p.add_argument("--format", choices=("npz", "pkl"), default="npz", help="of the output (npz)")
    p.add_argument("--strength", type=float, default=1.0, help="0 keeps, 1 replaces (1)")
    p.add_argument("--times", type=int, default=1, help="how often to apply it (1)")
    p.add_argument(
        "--visualize", "-visualize", type=boolean, nargs="?", const=True, default=False,
        help="also pictures before and after",
    )  # fmt: skip
    return p


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from facejax.systems.manifold.denoise import denoise_file, load_run

        written = denoise_file(
            load_run(args.workdir, args.model),
            args.path,
            args.out,
            mode=args.mode,
            strength=args.strength,
            times=args.times,
            visualize=args.visualize,
            kind=args.format,
        )
        print(f"{len(written)} file(s). Look at: {written[-1]}")
        return 0

    return cli.run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
