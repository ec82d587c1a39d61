"""Converts the Basel Face Model 2009 as the Deep3D family uses it, once, to facejax's own file.

    python data_prep/import_bfm.py FOLDER --out=bfm09.npz
    python data_prep/import_bfm.py BFM_model_front.mat --out=bfm09.npz
    python data_prep/import_bfm.py FOLDER --out=bfm09.npz --mat=BFM_model_front.mat

FOLDER holds 01_MorphableModel.mat, Exp_Pca.bin, std_exp.txt, BFM_exp_idx.mat, BFM_front_idx.mat and
facemodel_info.mat, under any names; they are the user's own downloads (University of Basel
licence). A folder that lacks some of them but holds one finished BFM_model_front.mat will do. --mat
also writes the file that the original programs read. Use the result with --model=bfm09.npz,
--config.data.model_path=bfm09.npz or facejax.load_morphable('bfm09.npz').
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands import common  # noqa: E402


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("source", help="folder of the downloads, or a BFM_model_front.mat")
    p.add_argument("--out", required=True, help="the .npz to write")
    p.add_argument("--mat", help="a BFM_model_front.mat to write as well")
    p.add_argument("--num_id", type=int, default=80, help="identity components (80)")
    p.add_argument("--num_exp", type=int, default=64, help="expression components (64)")
    p.add_argument("--num_tex", type=int, default=80, help="albedo components (80)")
    return p


def convert(args: argparse.Namespace) -> int:
    """Does the work; returns the exit code."""
    from facejax.morphable import save_npz
    from facejax.morphable.bfm09 import model_from_front, read_bfm_front, write_bfm_front
    from facejax.morphable.bfm09_sources import (
        FRONT,
        ROLES,
        describe_file,
        find_front,
        find_sources,
        front_from_sources,
    )

    out = pathlib.Path(args.out)
    if out.suffix != ".npz":
        raise ValueError(f"found --out={out}, wanted a name that ends in .npz")
    counts = dict(idBase=args.num_id, exBase=args.num_exp, texBase=args.num_tex)
    if min(counts.values()) < 1:
        raise ValueError(
            f"found {list(counts.values())} components, wanted at least 1 of each kind"
        )
    source = pathlib.Path(args.source)
    roles, others = ({}, {}) if source.is_file() else find_sources(source)
    finished = [] if source.is_file() or len(roles) == len(ROLES) else find_front(source)
    if len(finished) > 1:
        raise ValueError(
            f"{source}: found {len(finished)} finished models, {' and '.join(map(str, finished))}; "
            "name one of them"
        )
    if finished:
        source = finished[0]
    if source.is_file():
        found = describe_file(source)
        if found != FRONT:
            raise ValueError(
                f"{source}: found {found}, wanted {FRONT} or the folder of the downloads "
                f"({', '.join(words.split(',')[0] for words in ROLES.values())})"
            )
        front = read_bfm_front(source)
        print(f"{source}: {FRONT}")
        front |= {k: front[k][:n] for k, n in counts.items()}
    else:
        for role, path in roles.items():
            print(f"{path}: {ROLES[role].split(',')[0]}")
        for path, words in others.items():
            print(f"{path}: not used, {words}")
        front = front_from_sources(args.source, args.num_id, args.num_exp, args.num_tex)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_npz(out, model_from_front(front))
    print(
        f"wrote {out}: {len(front['meanshape'])} vertices, {len(front['tri'])} triangles, "
        f"{len(front['idBase'])} identity, {len(front['exBase'])} expression and "
        f"{len(front['texBase'])} albedo components, {int(front['front'].sum())} vertices in the "
        f"photometric region, {int(front['skin'].sum())} of skin"
    )
    if args.mat:
        write_bfm_front(args.mat, front)
        print(f"wrote {args.mat}: for the original programs")
    return 0


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""

    def work() -> int:
        args = parser().parse_args(argv)
        common.prepare([common.folder_of(args.out), common.folder_of(args.mat)])
        return convert(args)

    return common.report_errors(work)


if __name__ == "__main__":
    sys.exit(common.whole_process(lambda: main(sys.argv[1:])))
