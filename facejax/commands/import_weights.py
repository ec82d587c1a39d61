"""Published weights into a run folder or a file that the other commands read.

facejax import_weights --system=tbgan --input=network-final.pkl --out=DIR [--data=MAPS]
facejax import_weights --system=deep3d --part=rnet --input=epoch_20.pth --out=rnet.npz

Nothing in the file is executed: a file that asks for anything but arrays is refused.
"""

import argparse
from collections.abc import Sequence

from facejax.commands.common import folder_of, prepare, report_errors
from facejax.host.errors import UsageError, nearest
from facejax.train.config import load_config
from facejax.train.runs import find_systems, system_module


def importers() -> list[str]:
    """Names of the systems that import published weights: those with an importer.py."""
    return [name for name, folder in find_systems().items() if (folder / "importer.py").is_file()]


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--system", required=True, help=f"one of {', '.join(importers())}")
    p.add_argument("--input", required=True, help="the published file")
    p.add_argument("--out", required=True, help="new folder of a run; with --part a new .npz file")
    p.add_argument(
        "--part", default="", help="which network, of systems that import them one by one"
    )
    p.add_argument(
        "--data", default="", help="data set that the weights belong to, for figures and meshes"
    )
    return p


def main(argv: Sequence[str], program: str = "facejax import_weights") -> int:
    """Runs the command; returns the exit code."""
    args = parser(program).parse_args(list(argv))
    return report_errors(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    known = importers()
    if args.system not in known:
        raise UsageError(
            f"--system={args.system}: wanted one of {', '.join(known)}."
            f"{nearest(args.system, known)}"
        )
    prepare([folder_of(args.out)])
    module = system_module(args.system, "importer")
    if hasattr(module, "import_part"):
        if args.part not in module.PARTS:
            raise UsageError(f"--part={args.part}: wanted one of {', '.join(module.PARTS)}")
        meta = module.import_part(args.input, args.part, args.out)
    else:
        config = load_config(f"{args.system}:{module.PRESET}")
        meta = module.import_run(args.input, args.out, config, data=args.data)
    print(f"{meta['origin']} (SHA-256 {meta['sha256']}) is in {args.out}")
    print("\n".join([f"Licence: {meta['licence']}", *module.closing_lines(meta, args.out)]))
    return 0
