"""Makes, shows and compares data sets of UV maps.

    python data_prep/dataset_tool.py create_from_model OUT --model procedural --num 2048
    python data_prep/dataset_tool.py create_from_maps OUT --texture T --shape S --normals N
    python data_prep/dataset_tool.py info DIR
    python data_prep/dataset_tool.py display DIR --out sheet.png
    python data_prep/dataset_tool.py extract DIR OUT
    python data_prep/dataset_tool.py compare A B
    python data_prep/dataset_tool.py convert DIR OUT
    python data_prep/dataset_tool.py create_image_set DATA_DIR/NAME IMAGES --jobs 4
    python data_prep/dataset_tool.py create_from_pkl_img_norm OUT TEXDIR SHAPEDIR NORMALDIR

DIR is a packed set (meta.json) or a folder of multi-resolution TFRecords. Exit codes are those of
`facejax --help`; `compare` exits with 1 where the sets differ.
"""

import argparse
import functools
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from data_prep import sets  # noqa: E402
from facejax.commands import common  # noqa: E402

_SHEET_PX = 128  # side of a tile
_CHUNK = 16  # examples read at a time
_RANGES = {"offset": (-4.0, 4.0), "absolute": (-1.0, 1.0)}  # of uint8


def _chunks(source, limit):
    """(start, indices) of the first `limit` examples."""
    import numpy as np

    count = len(source) if limit is None else min(limit, len(source))
    return [(i, np.arange(i, min(i + _CHUNK, count))) for i in range(0, count, _CHUNK)]


# --- Making sets ---------------------------------------------------------------------------------


def _write(args, read, count, resolution, codec, label_names, value_range, meta):
    """Writes a set; `read` gives its batches, or makes those of any range of examples."""
    batches = read(0, count) if callable(read) else read
    if args.format != "tfds" and (args.jobs > 1 or args.num_shards):
        raise ValueError(f"--jobs and --num_shards are for --format=tfds, found {args.format}")
    if args.format == "packed":
        from facejax.data.packed import write_packed

        write_packed(
            args.out, batches, num_examples=count, resolution=resolution, codec=codec,
            label_names=label_names, dtype=args.dtype, value_range=value_range, meta=meta,
        )  # fmt: skip
    elif args.dtype != "float32":
        raise ValueError(f"--format {args.format} holds float32, found --dtype {args.dtype}")
    elif args.format == "tfds":
        from facejax.data.tfds import write_tfds

        write_tfds(
            args.out, read if args.jobs > 1 else batches, num_examples=count,
            resolution=resolution, codec=codec, label_names=label_names,
            num_shards=args.num_shards, jobs=args.jobs,
        )  # fmt: skip
    else:
        import numpy as np

        labels = []

        def images():
            for batch in batches:
                labels.extend(np.asarray(batch["labels"]))
                yield from np.asarray(batch["maps"])

        sets.write_records(args.out, images(), labels if label_names else None, codec)
    print(f"wrote {count} examples of {resolution} px, {codec.channels} channels, to {args.out}")


def create_from_maps(args):
    import numpy as np

    from facejax.data.labels import read_labels
    from facejax.data.map_files import ARRAY_SUFFIXES, find_files
    from facejax.host.locks import check_new
    from facejax.io.images import IMAGE_SUFFIXES

    check_new(args.out)

    folders = {"texture": args.texture, "shape": args.shape, "normals": args.normals}
    suffixes = {kind: ARRAY_SUFFIXES for kind in folders} | {"texture": IMAGE_SUFFIXES}
    files = find_files(folders, suffixes)
    stems = list(files)[: args.limit]
    labels, label_names = np.zeros((len(stems), 0), np.float32), ()
    if args.labels:
        every, label_names = read_labels(args.labels, list(files))
        labels = every[: len(stems)]
    rows = dict(zip(stems, labels, strict=True))
    sizes, low, high, mask = sets.check_sources({s: files[s] for s in stems}, args.skip_bad)
    center, extent = tuple(args.center_mm), args.extent_mm
    if args.shape_units == "mm":
        center = tuple(float(x) for x in (low + high) / 2)
        extent = float((high - low).max() / 2 / 0.95)
    resolution = next(iter(sizes.values()))
    codec = sets.codec_of_maps(args, resolution, center, extent, mask)
    if args.dry_run:
        print(f"would write {len(sizes)} faces of {resolution} px, labels {list(label_names)}")
        return

    stems = list(sizes)
    shown = (extent, center) if args.shape_units == "normalized" else None
    read = sets.MapsReader(
        {s: files[s] for s in stems}, np.stack([rows[s] for s in stems]), codec, shown
    )
    value_range = args.value_range or _RANGES[args.encoding]
    _write(args, read, len(sizes), resolution, codec, label_names, value_range, {})


def create_from_model(args):
    from facejax.data.packed import packed_bytes, source_batches
    from facejax.data.synthetic_uv import MorphableUVSource
    from facejax.data.uvmaps import log2_resolution
    from facejax.host.locks import check_new
    from facejax.morphable import load_morphable

    count = args.num if args.limit is None else min(args.num, args.limit)
    if count < 1:
        raise ValueError(f"--num must be positive, found {count}")
    if log2_resolution(args.resolution) < 2:
        raise ValueError(f"--resolution must be at least 4, found {args.resolution}")
    check_new(args.out)
    if args.dry_run:
        size = packed_bytes(count, args.resolution, 9, args.dtype)
        print(
            f"would bake {count} faces of {args.model} at {args.resolution} px into {args.out}, "
            f"{size / 2**20:.1f} MiB"
        )
        return
    source = MorphableUVSource(
        load_morphable(args.model), args.resolution, count, args.seed, encoding=args.encoding
    )

    batches = source_batches(
        source, count, progress=functools.partial(sets.progress, desc="baking")
    )
    _write(
        args, batches, count, args.resolution, source.codec, source.label_names,
        args.value_range or _RANGES[args.encoding], {"source": source.meta},
    )  # fmt: skip


def create_image_set(args):
    from facejax.data.tfds import write_tfds_images

    out = write_tfds_images(
        args.out, args.folder, args.labels, num_shards=args.num_shards, jobs=args.jobs,
        skip_bad=args.skip_bad, progress=functools.partial(sets.progress, desc="checking"),
    )  # fmt: skip
    shards = len(list(out.glob("*.array_record-*")))
    print(f"wrote a TFDS set in {shards} file(s) to {out}")


def convert(args):
    sets.convert(args, _write)


# --- Looking at sets -----------------------------------------------------------------------------


def info(args):
    source = sets.open_set(args, args.folder)
    meta = {k: v for k, v in source.meta.items() if k not in ("files", "codec", "source")}
    meta |= {"count": len(source), "resolutions": list(source.resolutions)}
    meta["label_names"] = list(source.label_names)
    print(json.dumps(meta | {"codec": source.codec.to_dict()}, indent=1))


def display(args):
    import numpy as np

    from facejax.io.images import add_text_labels, image_grid, write_image

    source = sets.open_set(args, args.folder)
    count = min(args.num, len(source))
    if count < 1:
        raise ValueError(f"--num must be positive, found {count}")
    resolution = max([r for r in source.resolutions if r <= _SHEET_PX] or source.resolutions[:1])
    batch = source.batch(np.arange(count), resolution=resolution)
    pictures = sets.viewable(source.codec.decode(batch["maps"]))
    for i in range(count):
        label = " ".join(f"{x:.2f}" for x in batch["labels"][i])
        print(f"{i} {source.names[i]} {label}".rstrip())
    if args.dry_run:
        return
    zoom = max(1, _SHEET_PX // resolution)
    tiles = np.stack(list(pictures.values()), axis=1).repeat(zoom, 2).repeat(zoom, 3)
    tiles = tiles.reshape(-1, *tiles.shape[2:])
    grid = image_grid(tiles, columns=len(pictures), pad=4, background=1.0)
    grid = add_text_labels(grid, source.names[:count], list(pictures), pad=4)
    print(f"wrote {write_image(args.out, grid)}")


def extract(args):
    from facejax.host.locks import check_new, new_folder

    source, out = sets.open_set(args, args.folder), pathlib.Path(args.out)
    chunks = _chunks(source, args.limit)
    count = sum(len(rows) for _, rows in chunks)
    bad = [n for n in source.names if not _is_inside(n)]
    if bad or len(set(source.names)) != len(source.names):
        raise ValueError(f"{args.folder}: names do not make file names: {bad[:3] or 'repeated'}")
    check_new(out)
    if args.dry_run:
        print(f"would write {count} faces to {out}")
        return
    with new_folder(out, "extracting") as partial:
        _extract(args, source, chunks, count, partial)
    print(f"wrote {count} faces to {out}")


def _extract(args, source, chunks, count, out):
    import csv

    import numpy as np

    from facejax.host.files import atomic_path
    from facejax.io.images import write_image

    for kind in source.codec.slices():
        (out / kind).mkdir()
    for start, rows in sets.progress(chunks, desc="extracting"):
        batch = source.batch(rows)["maps"]
        stored = {kind: batch[..., part] for kind, part in source.codec.slices().items()}
        for kind, maps in (stored if args.raw else source.codec.decode(batch)).items():
            for i, value in enumerate(np.asarray(maps), start):
                (out / kind / source.names[i]).parent.mkdir(parents=True, exist_ok=True)
                if kind == "texture" and not args.raw:
                    write_image(out / kind / f"{source.names[i]}.png", value)
                else:
                    sets.write_array(out / kind / f"{source.names[i]}.{args.arrays}", value)
    if source.label_names:
        with (
            atomic_path(out / "labels.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["id", *source.label_names])
            for i in range(count):
                writer.writerow([source.names[i], *map(float, source.labels[i])])


def _is_inside(name):
    """Whether a name is that of a file in a folder or its sub-folders, on any system."""
    parts = name.split("/")
    return "\\" not in name and ":" not in name and not {"", ".", ".."} & set(parts)


def compare(args):
    """Prints what differs; returns the exit code."""
    import numpy as np

    a, b = (sets.open_set(args, folder) for folder in (args.first, args.second))
    shared = min(len(a), len(b))
    limit = shared if args.limit is None else min(args.limit, shared)
    different, labels = [], []
    for _, rows in sets.progress(_chunks(a, limit), desc="comparing"):
        x, y = a.batch(rows), b.batch(rows)
        if x["maps"].shape != y["maps"].shape:
            raise ValueError(
                f"maps of {x['maps'].shape[1:]} in {args.first}, of {y['maps'].shape[1:]} in "
                f"{args.second}: nothing to compare"
            )
        different += rows[(x["maps"] != y["maps"]).any((1, 2, 3))].tolist()
        if not args.ignore_labels:
            same = x["labels"].shape == y["labels"].shape
            unequal = (x["labels"] != y["labels"]).any(1) if same else np.ones(len(rows), bool)
            labels += rows[unequal].tolist()
    print(f"identical images: {limit - len(different)} of {limit}")
    if not args.ignore_labels:
        print(f"identical labels: {limit - len(labels)} of {limit}")
    for what, indices in (("images", different), ("labels", labels)):
        if indices:
            more = " ..." if len(indices) > 20 else ""
            print(f"different {what}: {' '.join(map(str, indices[:20]))}{more}")
    if len(a) != len(b):
        print(f"different lengths: {len(a)} and {len(b)}")
    return int(bool(different or labels or len(a) != len(b)))


# --- Command line --------------------------------------------------------------------------------


def _parser():
    text = __doc__.splitlines()
    parser = argparse.ArgumentParser(
        description=text[0], epilog="\n".join(text[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)

    def command(function, help, *options):
        sub = commands.add_parser(function.__name__, help=help, description=help)
        sub.set_defaults(function=function, limit=None)
        if "limit" in options:
            sub.add_argument("--limit", type=int, help="use the first LIMIT examples only")
        if "skip_corrupt" in options:
            text = "leave damaged TFRecords out and count them"
            sub.add_argument("--skip_corrupt", action="store_true", help=text)
        if "dry_run" in options:
            sub.add_argument("--dry_run", action="store_true", help="check all, write nothing")
        return sub

    def storage(sub):
        sub.add_argument("out", help="new folder")
        sub.add_argument("--format", choices=["packed", "tfrecords", "tfds"], default="packed")
        sub.add_argument("--dtype", choices=["float32", "float16", "uint8"], default="float32")
        sub.add_argument(
            "--value_range", type=float, nargs=2, metavar=("LOW", "HIGH"),
            help="network values that 0 and 255 stand for in uint8",
        )  # fmt: skip
        shards(sub)

    def shards(sub):
        sub.add_argument("--num_shards", type=int, default=0, help="files of a TFDS set")
        sub.add_argument("--jobs", type=int, default=1, help="processes that write a TFDS set (1)")

    sub = command(
        create_from_maps, "pack maps of other programs, paired by file stem", "limit", "dry_run"
    )
    storage(sub)
    sub.add_argument("--texture", required=True, help="folder of square images (PNG)")
    sub.add_argument("--shape", required=True, help="folder of [3,H,W] or [H,W,3] npy/npz/pkl")
    sub.add_argument("--normals", required=True, help="folder, as --shape; unit vectors")
    sub.add_argument("--labels", help="csv (id,name,...), npz (ids, labels) or npy by stem order")
    sub.add_argument(
        "--shape_units", choices=["normalized", "mm"], default="normalized",
        help="normalized: about [-1, 1], as --center_mm and --extent_mm say; mm: object space",
    )  # fmt: skip
    sub.add_argument("--center_mm", type=float, nargs=3, default=(0.0, 0.0, 0.0))
    sub.add_argument("--extent_mm", type=float, default=100.0, help="mm per normalized unit")
    text = "face model whose UV layout the maps follow: generated maps then become meshes"
    sub.add_argument("--model", help=text)
    text = "of network values: absolute, or from the mean maps of --model (absolute)"
    sub.add_argument("--encoding", choices=["absolute", "offset"], default="absolute", help=text)
    sub.add_argument("--skip_bad", action="store_true", help="leave unusable faces out")

    sub = command(create_image_set, "a TFDS set of a folder of square images, with labels")
    sub.add_argument("out", help="DATA_DIR/NAME")
    sub.add_argument("folder", help="of images")
    sub.add_argument("--labels", help="csv (id,name,...), npz (ids, labels) or npy by stem order")
    sub.add_argument("--skip_bad", action="store_true", help="leave unusable images out")
    shards(sub)

    sub = command(create_from_model, "bake random faces of a morphable model", "limit", "dry_run")
    storage(sub)
    sub.add_argument("--model", default="procedural", help="name or path of a face model")
    sub.add_argument("--num", type=int, default=1024)
    sub.add_argument("--resolution", type=int, default=32)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--encoding", choices=["offset", "absolute"], default="offset")

    sub = command(display, "write a contact sheet", "dry_run", "skip_corrupt")
    sub.add_argument("folder")
    sub.add_argument("--out", default="sheet.png")
    sub.add_argument("--num", type=int, default=8, help="faces on the sheet")
    sub = command(
        extract,
        "write one file per map, as create_from_maps reads them (shape in mm)",
        "limit",
        "dry_run",
        "skip_corrupt",
    )
    sub.add_argument("folder")
    sub.add_argument("out", help="new folder")
    sub.add_argument("--raw", action="store_true", help="the stored numbers, all as arrays")
    sub.add_argument(
        "--arrays", choices=["npy", "pkl"], default="npy",
        help="npy [H,W,3], or pickles [3,H,W] as TBGAN's own tool reads them (npy)",
    )  # fmt: skip
    sub = command(compare, "count identical examples of two sets", "limit", "skip_corrupt")
    sub.add_argument("first")
    sub.add_argument("second")
    sub.add_argument("--ignore_labels", action="store_true")
    sub = command(info, "print what a set holds", "skip_corrupt")
    sub.add_argument("folder")
    sub = command(convert, "any set to packed, TFRecords or TFDS", "skip_corrupt")
    sub.add_argument("folder")
    storage(sub)
    sub.set_defaults(dtype=None)
    sets.add_verbs(commands)
    return parser


def main(argv=None) -> int:
    """Runs one command; returns the exit code."""

    def work() -> int:
        args = _parser().parse_args(argv)
        if args.limit is not None and args.limit < 1:
            raise ValueError(f"--limit must be positive, found {args.limit}")
        out = getattr(args, "out", None)
        common.prepare([common.folder_of(out) if args.command == "display" else out])
        return args.function(args) or 0

    return common.report_errors(work, smaller="use a smaller --resolution")


if __name__ == "__main__":
    sys.exit(common.whole_process(main))
