"""Published weights into a run folder or a file that the other commands read.

python launch/import_weights.py --system=tbgan --input=network-final.pkl --out=DIR [--data=MAPS]
python launch/import_weights.py --system=deep3d --part=rnet --input=epoch_20.pth --out=rnet.npz

Nothing in the file is executed: a file that asks for anything but arrays is refused.
"""

import argparse
import importlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facejax import cli  # noqa: E402


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--system", required=True, help="tbgan or deep3d")
    p.add_argument("--input", required=True, help="the published file, e.g. network-final.pkl")
    p.add_argument("--out", required=True, help="new folder of the run; deep3d: new .npz file")
    p.add_argument(
        "--part", default="", help="deep3d: rnet, facenet, arcface, imagenet or gcn (the graph net)"
    )
    p.add_argument(
        "--data", default="", help="data set that the weights belong to, for figures and meshes"
    )
    return p


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        name = f"facejax.systems.{args.system}"
        known = sorted(
            p.parent.name
            for p in (ROOT / "facejax" / "systems").glob("*/importer.py")
            if (ROOT / "configs" / f"{p.parent.name}.py").is_file()
        )
        if args.system not in known:
            raise cli.UsageError(f"--system={args.system}: wanted one of {', '.join(known)}")
        module = importlib.import_module(f"{name}.importer")
        if hasattr(module, "import_part"):
            if args.part not in module.PARTS:
                raise cli.UsageError(f"--part={args.part}: wanted one of {', '.join(module.PARTS)}")
            meta = module.import_part(args.input, args.part, args.out)
            print(f"{meta['origin']} (SHA-256 {meta['sha256']}) is in {args.out}")
            print(f"Licence: {meta['licence']}")
            print(f"Input of the network: {meta['input']}")
            return 0
        if not hasattr(module, "import_run"):
            raise cli.UsageError(f"--system={args.system} imports no published weights yet")
        preset = ":paper" if args.system == "tbgan" else ""
        config = cli.load_config(f"{ROOT / 'configs' / args.system}.py{preset}")
        meta = module.import_run(args.input, args.out, config, data=args.data)
        print(f"{meta['origin']} (SHA-256 {meta['sha256']}) is in {args.out}")
        if meta["lod"]:
            print(
                f"lod {meta['lod']:g}: training had not reached the last resolution; pictures are "
                "made at the stage that it had reached"
            )
        print(f"Licence: {meta['licence']}")
        print(f"Faces: python launch/generate.py --workdir={args.out} --num=8 --out=faces")
        return 0

    return cli.report_errors(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
