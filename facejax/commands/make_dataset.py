"""Makes synthetic faces with ground truth: pictures, masks, depth, normals, landmarks, labels.

facejax make_dataset --num=100 --out=faces
facejax make_dataset --num=100 --sampling=manifold --workdir=runs/manifold --out=faces
facejax make_dataset --num=100000 --container=packed --out=faces --num_shards=8 --shard=0

Face i depends only on (seed, i); the same command again makes what is missing.
"""

import argparse
import os
import pathlib
from collections.abc import Sequence

from facejax.commands.common import prepare, report_errors
from facejax.host.flags import COUNT, POSITIVE


def _span(text: str) -> tuple[float, float]:
    """'500,1500' -> (500, 1500)."""
    least, _, most = text.partition(",")
    return float(least), float(most or least)


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The flags; -mode, -size, -shape_range and -exp_range are the original's."""
    p = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--out", "-out", required=True, help="folder; with tfds DATA_DIR/NAME")
    p.add_argument(
        "--num", "-num", "--size", "-size", type=POSITIVE, default=50, help="of faces (50)"
    )
    p.add_argument("--model", default="procedural", help="face model, a name or path (procedural)")
    p.add_argument("--seed", type=COUNT, default=0, help="(0)")

    g = p.add_argument_group("coefficients")
    g.add_argument("--sampling", choices=("normal", "uniform", "manifold"), default="normal",
                   help="manifold: uniform, then denoised by the run in --workdir")  # fmt: skip
    g.add_argument("--workdir", default="", help="Face Manifold run")
    g.add_argument("--mode", "-mode", choices=("shape", "exp", "both"), default="both",
                   help="which coefficients; the others are sampled normally (both)")  # fmt: skip
    g.add_argument("--shape_range", "-shape_range", type=float, default=10.0,
                   help="width of uniform sampling, standard deviations (10)")  # fmt: skip
    g.add_argument("--exp_range", "-exp_range", type=float, default=10.0, help="the same (10)")

    g = p.add_argument_group("view")
    g.add_argument("--resolution", type=int, default=256, help="pixels on a side (256)")
    g.add_argument("--yaw_deg", type=float, default=60.0, help="largest, to either side (60)")
    g.add_argument("--pitch_deg", type=float, default=20.0, help="(20)")
    g.add_argument("--roll_deg", type=float, default=15.0, help="(15)")
    g.add_argument("--distance_mm", type=_span, default=(500.0, 1500.0), metavar="LEAST,MOST",
                   help="of the camera (500,1500)")  # fmt: skip
    g.add_argument("--frame_mm", type=_span, default=(260.0, 380.0), metavar="LEAST,MOST",
                   help="height of the picture at the head (260,380)")  # fmt: skip
    g.add_argument("--shift_mm", type=float, default=20.0, help="off the middle (20)")
    g.add_argument("--background", default="scene",
                   help="scene, plain, gradient, or a folder of images (scene)")  # fmt: skip
    g.add_argument("--camera", choices=("photo", "ideal"), default="photo",
                   help="ideal: no blur, noise, compression or things before the face")  # fmt: skip
    g.add_argument("--look", choices=("auto", "people", "head"), default="auto",
                   help="people: skin, hair, clothes; head: the model alone (auto)")  # fmt: skip
    g.add_argument("--supersample", type=int, default=1, choices=(1, 2), help="per axis (1)")

    g.add_argument("--skip_bad", action="store_true",
                   help="do without backgrounds that cannot be read")  # fmt: skip

    g = p.add_argument_group("files")
    g.add_argument("--container", choices=("folder", "packed", "tfds"), default="folder",
                   help="PNG and npz; one array per output; ArrayRecord (folder)")  # fmt: skip
    g.add_argument("--meshes", choices=("glb", "obj", "ply"), default="",
                   help="also a mesh per face (folder only)")  # fmt: skip
    g.add_argument("--coco", action="store_true", help="also coco_keypoints.json (folder only)")
    g.add_argument("--no_compress", action="store_true",
                   help="maps of 'folder' as they are: faster, twice the space")  # fmt: skip

    g = p.add_argument_group("work")
    g.add_argument("--batch_size", type=POSITIVE, default=16, help="faces rendered at a time (16)")
    g.add_argument("--threads", type=POSITIVE, default=None, help="that encode; one per processor")
    g.add_argument("--cpu_devices", type=POSITIVE, default=None,
                   help="of the CPU, that share a batch; one per processor, 8 at most")  # fmt: skip
    g.add_argument(
        "--num_shards", type=POSITIVE, default=1, help="processes that share the set (1)"
    )
    g.add_argument("--shard", type=COUNT, default=0, help="number of this one, from 0")
    return p


def main(argv: Sequence[str], program: str = "facejax make_dataset") -> int:
    """Runs the command; returns the exit code."""
    args = parser(program).parse_args(list(argv))
    return report_errors(
        lambda: _run(args), "The same command goes on", "use a smaller --batch_size or --resolution"
    )


def _run(args) -> int:
    import jax

    from facejax.data.prefetch import num_processors

    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", args.cpu_devices or min(num_processors(), 8))
    prepare([args.out])
    from facejax.morphable import load_morphable
    from facejax.pipelines.dataset import FaceMaker, Options, load_denoisers, write_dataset

    options = Options(
        sampling=args.sampling,
        mode=args.mode,
        shape_range=args.shape_range,
        exp_range=args.exp_range,
        size=args.resolution,
        yaw_deg=args.yaw_deg,
        pitch_deg=args.pitch_deg,
        roll_deg=args.roll_deg,
        distance_mm=args.distance_mm,
        frame_mm=args.frame_mm,
        shift_mm=args.shift_mm,
        background=args.background,
        camera=args.camera,
        look=args.look,
        supersample=args.supersample,
        seed=args.seed,
    )
    run = load_denoisers(args.workdir) if args.workdir else None
    maker = FaceMaker(load_morphable(args.model), options, run)
    summary = write_dataset(
        maker,
        args.out,
        args.num,
        container=args.container,
        batch_size=args.batch_size,
        num_shards=args.num_shards,
        shard=args.shard,
        coco=args.coco,
        compress=not args.no_compress,
        meshes=args.meshes,
        threads=args.threads,
        skip_bad=args.skip_bad,
    )
    seconds = ", ".join(f"{k} {v:.1f}" for k, v in summary.seconds.items())
    print(f"{summary.written} face(s) made, {summary.found} found; seconds: {seconds}")
    for name, why in summary.left_out.items():
        print(f"left out: {name}: {why}")
    if summary.left_out:
        print(f"{len(summary.left_out)} background image(s) were left out")
    if summary.missing:
        print(f"{summary.missing} face(s) of the set are missing: other shards make them")
    else:
        print(
            f"Look at: {pathlib.Path(args.out) / 'contact_sheet.png'}, outputs.png, statistics.png"
        )
    return 0
