"""What `facejax denoise` and `facejax evaluate` offer for runs of Face Manifold.

Flags are spelt as the original's too: -mode, -path, -save_folder, -visualize, -size, ...
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from facejax.host.flags import COUNT, POSITIVE, number
from facejax.train.verbs import Verb

if TYPE_CHECKING:
    from facejax.systems.manifold.denoise import Denoisers
    from facejax.train.runs import Run

_MODES = ("shape", "exp", "both")


def boolean(text: str) -> bool:
    """'True' or 'False', in any case; also 1, 0, yes, no."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted True or False")
    return known[text.lower()]


def _adder(p: argparse.ArgumentParser) -> Callable[..., argparse.Action]:
    """Adds an option in both spellings, --name and -name."""

    def add(*names: str, **options: Any) -> argparse.Action:
        return p.add_argument(*(f"{dash}{n}" for n in names for dash in ("--", "-")), **options)

    return add


def _denoise_flags(p: argparse.ArgumentParser) -> None:
    add = _adder(p)
    p.epilog = (
        "FILE holds sp (shape, N x n) and ep (expression, N x m): an .npz, the original's pickled "
        "table, or one 300W-LP style .mat. The output, OUT/outputs.npz (--format=pkl: the "
        "original's table), has the same arrays."
    )
    add("path", required=True, metavar="FILE", help=".npz, .pkl or .mat of coefficients")
    add("out", "save_folder", default="denoised", help="(denoised)")
    add("mode", choices=_MODES, default="shape", help="(shape)")
    add("model", default="", help="BFM.mat of raw coefficients, for pictures")
    p.add_argument("--format", choices=("npz", "pkl"), default="npz", help="of the output (npz)")
    p.add_argument("--strength", type=number(float, 0), default=1.0, help="0 keeps, 1 replaces (1)")
    p.add_argument("--times", type=POSITIVE, default=1, help="how often to apply it (1)")
    text = "also pictures before and after"
    add("visualize", type=boolean, nargs="?", const=True, default=False, help=text)


def _denoise(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.manifold.denoise import denoise_file, denoisers_of

    written = denoise_file(
        denoisers_of(run, args.model),
        args.path,
        args.out,
        mode=args.mode,
        strength=args.strength,
        times=args.times,
        visualize=args.visualize,
        kind=args.format,
    )
    print(f"{len(written)} file(s)")
    return written[-1:]


def _common_flags(p: argparse.ArgumentParser) -> Callable[..., argparse.Action]:
    add = _adder(p)
    add("model", default="", help="face model of raw coefficients (that of the run)")
    return add


def _experiment_flags(
    p: argparse.ArgumentParser, mode: str, size: int
) -> Callable[..., argparse.Action]:
    add = _common_flags(p)
    add("out", default="model_evaluation", help="(model_evaluation)")
    add("mode", choices=_MODES, default=mode, help=f"({mode})")
    add("size", type=number(int, 2), default=size, help=f"number of faces ({size})")
    add("seed", type=COUNT, default=0, help="of all draws (0)")
    add("format", choices=("npz", "pkl"), default="npz", help="of the tables (npz)")
    return add


def _strength_flags(add: Callable[..., argparse.Action]) -> None:
    add(
        "strength",
        type=number(float, 0),
        default=1.0,
        help="of the denoising: 0 keeps, 1 replaces (1)",
    )
    add("times", type=POSITIVE, default=1, help="how often it is applied (1)")


def _test_flags(p: argparse.ArgumentParser) -> None:
    add = _experiment_flags(p, "shape", 20)
    text = "of the noise: a number, 'ev' or 'std'"
    add("sigma_shape", help=f"{text} (a fifth of training's: 100000 of the original)")
    add("sigma_exp", help=f"{text} (half of training's: 1 of the original)")
    add("visualize", type=boolean, nargs="?", const=True, default=True, help="pictures (True)")


def _scatter_flags(p: argparse.ArgumentParser) -> None:
    add = _experiment_flags(p, "both", 200)
    add("range", type=number(float, 0), default=10.0, help="width of uniform sampling, sd (10)")
    add("visualize", type=boolean, nargs="?", const=True, default=False, help="pictures of all")
    add("legacy-scatter", action="store_true", help="plot uniform samples before denoising")
    _strength_flags(add)


def _synthetic_flags(p: argparse.ArgumentParser) -> None:
    add = _experiment_flags(p, "both", 50)
    add("shape_range", type=number(float, 0), default=10.0, help="sd (10)")
    add("exp_range", type=number(float, 0), default=10.0, help="sd (10)")
    _strength_flags(add)


def _numerical_flags(p: argparse.ArgumentParser) -> None:
    _common_flags(p)


def _denoisers(run: "Run", args: argparse.Namespace) -> "Denoisers":
    from facejax.systems.manifold.denoise import denoisers_of

    return denoisers_of(run, args.model)


def _options(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    shared = dict(mode=args.mode, size=args.size, seed=args.seed, kind=args.format)
    return shared | {name: getattr(args, name) for name in names}


def _print_figures(found: dict[str, dict[str, float]]) -> None:
    from facejax.train.evaluation import finite_figures

    for target, figures in finite_figures(found, "the run").items():
        words = (f"{k} {'-' if v is None else format(v, '.6g')}" for k, v in figures.items())
        print(f"{target}: " + ", ".join(words))


def _test(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.manifold.experiments import held_out_triples

    given = {"shape": args.sigma_shape, "expression": args.sigma_exp}
    sigmas = {k: v for k, v in given.items() if v is not None}
    _print_figures(
        held_out_triples(
            _denoisers(run, args), args.out, sigmas=sigmas, pictures=args.visualize,
            **_options(args),
        )
    )  # fmt: skip
    return [pathlib.Path(args.out)]


def _scatter(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.manifold.experiments import diversity_figure

    _print_figures(
        diversity_figure(
            _denoisers(run, args), args.out, width=args.range, pictures=args.visualize,
            legacy=args.legacy_scatter, **_options(args, "strength", "times"),
        )
    )  # fmt: skip
    return [pathlib.Path(args.out)]


def _synthetic(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.manifold.experiments import synthetic_set

    widths = {"shape": args.shape_range, "expression": args.exp_range}
    options = _options(args, "strength", "times")
    folder = synthetic_set(_denoisers(run, args), args.out, widths=widths, **options)
    return [folder / "network_output"]


def _numerical(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.manifold.experiments import numerical
    from facejax.train.evaluation import finite_figures

    figures = finite_figures(numerical(_denoisers(run, args)), "the run")
    print(json.dumps(figures, indent=2, allow_nan=False))
    return []


VERBS: dict[str, Verb | dict[str, Verb]] = {
    "denoise": Verb("Coefficients of faces: file in, file out.", _denoise_flags, _denoise),
    "evaluate": {
        "test": Verb("Held-out faces: truth, noisy, denoised.", _test_flags, _test),
        "scatter": Verb("Diversity: figure and covariance traces.", _scatter_flags, _scatter),
        "synthetic": Verb("Wide uniform faces, and denoised.", _synthetic_flags, _synthetic),
        "numerical": Verb(
            "Errors on the whole hold-out, beside baselines.", _numerical_flags, _numerical
        ),
    },
}
