"""Makes noisy and clean coefficient pairs for Face Manifold, as the original's generators do.

python data_prep/make_manifold_data.py --mode=shape --path=FOLDER --out=dataset_generation

Without --path the faces are drawn from the procedural head. Then train with
--config.data.source=arrays --config.data.path=OUT --config.train.noise=stored
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facejax.commands import common  # noqa: E402
from facejax.host import flags  # noqa: E402

TARGETS = {"shape": ("shape",), "exp": ("expression",), "both": ("shape", "expression")}
REPEATS = {"shape": 100, "expression": 50}
SIGMAS = {  # by whether coefficients are those of Basel 2009 files
    True: {"shape": "5e5", "expression": "2"},
    False: {"shape": "2.5", "expression": "0.5"},
}


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mode", "-mode", choices=tuple(TARGETS), default="both", help="(both)")
    p.add_argument("--path", "-path", default="", help="folder of 300W-3D / AFLW2000-3D .mat files")
    p.add_argument("--out", "-out", default="dataset_generation", help="(dataset_generation)")
    p.add_argument(
        "--model", "-model", default="", help="BFM.mat of the files, for pictures and 'ev'"
    )
    p.add_argument(
        "--repeats", type=flags.POSITIVE, help="corruptions per face (shape 100, expression 50)"
    )
    p.add_argument(
        "--sigma", "-sigma",
        help="of the noise: a number, 'ev' (the face model's eigenvalues) or 'std' (of the faces); "
        "(files: 500000, 2; else 2.5, 0.5)",
    )  # fmt: skip
    p.add_argument("--samples", type=flags.COUNT, default=5, help="pairs drawn as pictures (5)")
    p.add_argument("--num_test", type=flags.POSITIVE, default=600, help="held-out faces (600)")
    p.add_argument(
        "--num_rows", type=flags.number(int, 2), default=10000, help="faces to draw without --path"
    )
    p.add_argument("--seed", type=flags.COUNT, default=0, help="of split, draws and noise (0)")
    return p


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""

    def work() -> int:
        args = parser().parse_args(argv)
        common.prepare([args.out])
        from facejax.host.locks import folder_lock
        from facejax.systems.manifold.data import load_model, load_rows, per_component
        from facejax.systems.manifold.dataset import write_pairs, write_samples
        from facejax.systems.manifold.gallery import Painter
        from facejax.train.config import load_config

        config = load_config("manifold")
        config.data.update(
            source="mat" if args.path else "procedural",
            path=args.path,
            model_path=args.model,
            num_test=args.num_test,
            num_rows=args.num_rows,
            seed=args.seed,
        )
        model = load_model(config) if args.samples > 0 else None
        painter = model and Painter(config, model, config.evaluate.picture_size)
        with folder_lock(args.out, "making pairs"):
            for target in TARGETS[args.mode]:
                repeats = REPEATS[target] if args.repeats is None else args.repeats
                sigma = SIGMAS[bool(args.path)][target] if args.sigma is None else args.sigma
                rows = load_rows(config, target)
                sigma = per_component(sigma, config, target, rows.train)
                folder = write_pairs(args.out, target, rows, sigma, repeats, args.seed)
                counts = f"{len(rows.train)} + {len(rows.test)} faces"
                print(f"{folder}: {counts}, {repeats} corruptions each")
                if painter is not None:
                    write_samples(args.out, target, painter, args.samples)
        return 0

    return common.report_errors(work, "The same command begins again")


if __name__ == "__main__":
    sys.exit(common.whole_process(lambda: main(sys.argv[1:])))
