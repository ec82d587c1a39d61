"""What `facejax generate` offers for runs of disco."""

import argparse
import pathlib
from typing import TYPE_CHECKING

from facejax.host.flags import COUNT, POSITIVE, number
from facejax.train.verbs import Verb

if TYPE_CHECKING:
    from facejax.train.runs import Run

_FACTORS = {  # words, and the numbers of the original program
    "all": "all", "0": "all",
    "expression": "exp", "exp": "exp", "1": "exp",
    "light": "gamma", "gamma": "gamma", "2": "gamma",
    "pose": "rot", "rot": "rot", "3": "rot",
    "identity": "id", "id": "id",
}  # fmt: skip
_ANGLES = ("pitch", "yaw", "roll")


def _generate_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", required=True, type=pathlib.Path, help="folder that the files go to")
    p.add_argument(
        "--factor", default="all", choices=sorted(_FACTORS), metavar="FACTOR",
        help="what differs between pictures of a subject: all (0: expression, light and pose), "
        "expression (1), light (2), pose (3), identity (all)",
    )  # fmt: skip
    p.add_argument("--subject", type=POSITIVE, default=20, help="number of subjects (20)")
    p.add_argument("--variation", type=POSITIVE, default=5, help="pictures of each (5)")
    p.add_argument(
        "--rate", type=number(float, 0.0), default=0.7,
        help="1: people as they come; less: nearer to the average person, with fewer faults (0.7)",
    )  # fmt: skip
    p.add_argument("--seed", type=COUNT, default=0, help="of the draws (0)")
    for name in _ANGLES:
        p.add_argument(f"--{name}", type=number(float, -180, 180), help="degrees, for all pictures")
    p.add_argument("--expression", default="", help="neutral, happy, ..., for all pictures")
    p.add_argument(
        "--coefficients", default="",
        help="an .npy of rows or a folder of .mat files in place of drawn coefficients",
    )  # fmt: skip


def _generate(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.disco.generate import generate_faces

    given = {name: getattr(args, name) for name in _ANGLES}
    return generate_faces(
        run, args.out, factor=_FACTORS[args.factor], subjects=args.subject,
        variations=args.variation, rate=args.rate, seed=args.seed, coefficients=args.coefficients,
        degrees={k: v for k, v in given.items() if v is not None}, expression=args.expression,
    )  # fmt: skip


def _edit_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--input", required=True,
        help="a picture or a folder of them: aligned as training pictures are, or with five points "
        "each in NAME.txt",
    )  # fmt: skip
    p.add_argument("--out", required=True, type=pathlib.Path, help="folder that the files go to")
    for name in _ANGLES:
        p.add_argument(f"--{name}", type=number(float, -180, 180), help="degrees wanted")
    p.add_argument("--expression", default="", help="neutral, happy, ...")
    p.add_argument("--expression_of", default="", help="picture whose expression is taken")
    p.add_argument("--light_of", default="", help="picture whose light is taken")
    p.add_argument("--steps", type=POSITIVE, default=300, help="of each of three rates (300)")
    p.add_argument("--seed", type=COUNT, default=0, help="of the people that the change is made on")


def _edit(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.io.images import find_images
    from facejax.systems.disco.edit import edit_pictures

    given = {name: getattr(args, name) for name in _ANGLES}
    place = pathlib.Path(args.input)
    return edit_pictures(
        run, find_images(place) if place.is_dir() else [place], args.out,
        degrees={k: v for k, v in given.items() if v is not None}, expression=args.expression,
        expression_of=args.expression_of, light_of=args.light_of, steps=args.steps, seed=args.seed,
    )  # fmt: skip


def _reference_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--input", required=True, help="picture that is imitated, see edit")
    p.add_argument("--out", required=True, type=pathlib.Path, help="folder that the files go to")
    p.add_argument("--subject", type=POSITIVE, default=8, help="number of people (8)")
    p.add_argument("--rate", type=number(float, 0.0), default=0.7, help="see generate (0.7)")
    p.add_argument("--seed", type=COUNT, default=0, help="of the people (0)")


def _reference(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.disco.edit import imitate

    return imitate(
        run, args.input, args.out, subjects=args.subject, rate=args.rate, seed=args.seed
    )  # fmt: skip


VERBS = {
    "generate": Verb("Faces, one factor at a time.", _generate_flags, _generate),
    "edit": Verb("Given pictures with another pose, expression or light.", _edit_flags, _edit),
    "analyze": {
        "reference": Verb(
            "Random people with the expression, pose and light of a picture.",
            _reference_flags, _reference,
        ),
    },
}  # fmt: skip
