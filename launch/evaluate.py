"""The published experiments of Face Manifold on a trained run, with the original's options.

python launch/evaluate.py test --workdir=runs/manifold -mode both -size 20
python launch/evaluate.py scatter --workdir=runs/manifold -mode both -size 200 -range 10
python launch/evaluate.py synthetic --workdir=runs/manifold -size 50 -shape_range 10 -exp_range 10
python launch/evaluate.py numerical --workdir=runs/manifold

Everything at once, beside baselines: python launch/main.py --mode=evaluate --workdir=runs/manifold
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facejax import cli  # noqa: E402
from launch.denoise import boolean  # noqa: E402

_CHOICES = ("shape", "exp", "both")


def parser() -> argparse.ArgumentParser:
    """The flags."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, mode: str, size: int) -> argparse.ArgumentParser:
        p = commands.add_parser(name, help=text, description=text)
        add = _adder(p)
        add("workdir", default="runs/manifold", help="folder of the run")
        add("model", default="", help="face model of raw coefficients (that of the run)")
        if not mode:
            return p
        add("out", default="model_evaluation", help="(model_evaluation)")
        add("mode", choices=_CHOICES, default=mode, help=f"({mode})")
        add("size", type=int, default=size, help=f"number of faces ({size})")
        add("seed", type=int, default=0, help="of all draws (0)")
        add("format", choices=("npz", "pkl"), default="npz", help="of the tables (npz)")
        return p

    test = _adder(command("test", "held-out faces: truth, noisy, denoised", "shape", 20))
    text = "of the noise: a number, 'ev' or 'std'"
    test("sigma_shape", help=f"{text} (a fifth of training's: 100000 of the original)")
    test("sigma_exp", help=f"{text} (half of training's: 1 of the original)")
    test("visualize", type=boolean, nargs="?", const=True, default=True, help="pictures (True)")
    scatter = _adder(command("scatter", "diversity: figure and covariance traces", "both", 200))
    scatter("range", type=float, default=10.0, help="width of uniform sampling, sd (10)")
    scatter("visualize", type=boolean, nargs="?", const=True, default=False, help="pictures of all")
    scatter("legacy-scatter", action="store_true", help="plot uniform samples before denoising")
    synthetic = _adder(command("synthetic", "wide uniform faces, and denoised", "both", 50))
    synthetic("shape_range", type=float, default=10.0, help="sd (10)")
    synthetic("exp_range", type=float, default=10.0, help="sd (10)")
    for add in (scatter, synthetic):
        add("strength", type=float, default=1.0, help="of the denoising: 0 keeps, 1 replaces (1)")
        add("times", type=int, default=1, help="how often it is applied (1)")
    command("numerical", "errors on the whole hold-out, beside baselines", "", 0)
    return top


def _adder(p: argparse.ArgumentParser):
    """Adds an option in both spellings, --name and -name."""
    return lambda name, **options: p.add_argument(f"--{name}", f"-{name}", **options)


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from facejax.systems.manifold import experiments
        from facejax.systems.manifold.denoise import load_run

        run = load_run(args.workdir, args.model)
        if args.command == "numerical":
            print(json.dumps(experiments.numerical(run), indent=2))
            return 0
        common = dict(mode=args.mode, size=args.size, seed=args.seed, kind=args.format)
        if args.command == "test":
            given = {"shape": args.sigma_shape, "expression": args.sigma_exp}
            found = experiments.held_out_triples(
                run,
                args.out,
                sigmas={k: v for k, v in given.items() if v is not None},
                pictures=args.visualize,
                **common,
            )
        else:
            common |= dict(strength=args.strength, times=args.times)
        if args.command == "scatter":
            found = experiments.diversity_figure(
                run,
                args.out,
                width=args.range,
                pictures=args.visualize,
                legacy=args.legacy_scatter,
                **common,
            )
        if args.command == "synthetic":
            widths = {"shape": args.shape_range, "expression": args.exp_range}
            folder = experiments.synthetic_set(run, args.out, widths=widths, **common)
            print(f"Look at: {folder / 'network_output'}")
            return 0
        for target, figures in found.items():
            print(f"{target}: " + ", ".join(f"{k} {v:.6g}" for k, v in figures.items()))
        print(f"Look at: {pathlib.Path(args.out)}")
        return 0

    return cli.run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
