"""What `facejax generate` offers for runs of VariTex."""

import argparse
import pathlib
from typing import TYPE_CHECKING

from facejax.host.flags import COUNT, POSITIVE, number
from facejax.train.verbs import Verb

if TYPE_CHECKING:
    from facejax.train.runs import Run


def _generate_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", required=True, help="folder that the pictures go to")
    p.add_argument("--num", type=POSITIVE, default=4, help="number of people (4)")
    p.add_argument("--seed", type=COUNT, default=0, help="person k depends only on (seed, k) (0)")
    p.add_argument("--std", type=number(float, 0), default=1.0, help="spread of the codes (1)")
    p.add_argument("--yaws", default="-30,-15,0,15,30", help="degrees, with commas")


def _generate(run: "Run", args: argparse.Namespace) -> list[pathlib.Path]:
    from facejax.systems.varitex.generate import generate

    try:
        yaws = [float(x) for x in args.yaws.split(",")]
    except ValueError as error:
        raise ValueError(f"--yaws={args.yaws}: wanted numbers: {error}") from None
    return generate(
        run, args.out, num=args.num, seed=args.seed, std=args.std, yaws_deg=yaws
    )  # fmt: skip


VERBS = {"generate": Verb("New people, turned and with expressions.", _generate_flags, _generate)}
