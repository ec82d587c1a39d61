"""Checking, opening and converting sets, and the verbs of TBGAN's own dataset_tool.py."""

import pathlib
import sys
import warnings

MODALITIES = {  # verb: what its folders hold, in channel order
    "create_from_pkl_img_norm": ("texture", "shape", "normals"),
    "create_from_pkl_img": ("texture", "shape"),
    "create_from_pkl": ("shape",),
    "create_from_images": ("texture",),
}


def progress(items, **options):
    import tqdm

    return tqdm.tqdm(items, disable=None, **options)  # None: silent where stderr is no terminal


def viewable(decoded):
    """Texture, shape and normals as pictures in [0, 1]."""
    import numpy as np

    out = {}
    for kind, value in decoded.items():
        value = np.asarray(value)
        if kind == "shape":
            low, high = value.min((0, 1, 2)), value.max((0, 1, 2))
            value = (value - low) / np.maximum(high - low, 1e-6)
        elif kind == "normals":
            value = value * 0.5 + 0.5
        out[kind] = np.clip(value, 0, 1)
    return out


def write_array(path, value):
    """One map: .npy [H, W, 3], or a pickle [3, H, W]."""
    import pickle

    import numpy as np

    from facejax.host.files import atomic_path

    with atomic_path(path) as temporary:
        if path.suffix == ".npy":
            np.save(temporary, value)
        else:
            planes = np.ascontiguousarray(value.transpose(2, 0, 1))
            temporary.write_bytes(pickle.dumps(planes, protocol=4))


def codec_of_maps(args, resolution, center, extent, mask):
    """How create_from_maps encodes: around the mean maps of a face model, or absolutely."""
    import numpy as np

    from facejax.data.uvmaps import UVCodec, pyramid

    if args.encoding == "offset" and not args.model:
        raise ValueError("--encoding=offset is from the mean maps of a face model: give --model")
    fields = {}
    if args.model:
        from facejax.data.synthetic_uv import MorphableUVSource
        from facejax.morphable import load_morphable

        of_model = MorphableUVSource(load_morphable(args.model), resolution, 1).codec
        if args.encoding == "offset":
            return of_model
        fields = {k: getattr(of_model, k) for k in ("model", "model_digest", "uv_digest")}
    masks = pyramid(np.zeros((resolution, resolution, 1), np.float32), mask)[1]
    return UVCodec(
        encoding="absolute", center_mm=center, extent_mm=extent, masks=masks, **fields
    )  # fmt: skip


def check_sources(files, skip_bad):
    """First pass over all files: {stem: size}, what the shapes span, and the mask of the layout."""
    import numpy as np

    from facejax.data.map_files import read_maps

    sizes, problems = {}, {}
    low, high, mask = np.full(3, np.inf), np.full(3, -np.inf), None
    for stem in progress(files, desc="checking"):
        try:
            maps = read_maps(files[stem])
            size = maps["texture"].shape[0]
            if maps["texture"].shape[1] != size or size < 4 or size & (size - 1):
                raise ValueError(
                    f"{files[stem]['texture']}: {maps['texture'].shape[:2]} is not square, or not "
                    "a power of two >= 4"
                )
            if sizes and size != next(iter(sizes.values())):
                raise ValueError(
                    f"{files[stem]['texture']}: {size} px, others {next(iter(sizes.values()))} px"
                )
        except ValueError as error:
            problems[stem] = str(error)
            print(f"bad: {error}", file=sys.stderr)
            continue
        sizes[stem] = size
        inside = np.linalg.norm(maps["normals"], axis=-1) > 0.1
        mask = inside if mask is None else mask | inside
        low = np.minimum(low, maps["shape"][inside].min(0, initial=np.inf))
        high = np.maximum(high, maps["shape"][inside].max(0, initial=-np.inf))
    if not sizes or (problems and not skip_bad):
        raise ValueError(
            f"{len(problems)} of {len(files)} faces are unusable (listed above); mend them or pass "
            "--skip_bad to leave them out"
        )
    if not mask.any():
        raise ValueError("every normal is zero: wanted unit vectors inside the UV layout")
    return sizes, low, high, mask


def open_set(args, folder):
    """The set in a folder; with --skip_corrupt damaged records are left out and counted."""
    from facejax.data.folders import open_dataset

    if not getattr(args, "skip_corrupt", False):
        return open_dataset(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = open_dataset(folder, skip_corrupt=True)
    for warning in caught:
        print(warning.message)
    skipped = getattr(source, "skipped", ())
    print(f"left out {len(skipped)} damaged record(s) of {len(source) + len(skipped)} in {folder}")
    return source


def write_records(out, images, labels, codec):
    """A set of TFRecords with its encoding, in a folder that appears whole or not at all."""
    from facejax.host.locks import new_folder
    from facejax.io.tfrecord_images import write_multiresolution

    with new_folder(out, "writing a data set") as partial:
        write_multiresolution(partial, images, labels, name=pathlib.Path(out).resolve().name)
        codec.save(partial)


def _create(args):
    """Any of the verbs in MODALITIES: folders to TFRecords."""
    import functools

    from facejax.data import original_sets
    from facejax.data.labels import read_labels
    from facejax.data.uvmaps import UVCodec
    from facejax.host.locks import check_new

    check_new(args.out)
    kinds = MODALITIES[args.command]
    folders = dict(zip(kinds, (getattr(args, f"{k}_dir") for k in kinds), strict=True))
    files = original_sets.pair(folders)
    stems = list(files)
    labels = read_labels(args.labels, stems)[0] if args.labels else None

    def read(stem):
        if args.command == "create_from_images":
            return original_sets.read_pixels(files[stem]["texture"])
        return original_sets.read_channels(files[stem])

    named = {stem: files[stem][kinds[0]] for stem in stems}
    _, problems = original_sets.check_examples(
        named, read, functools.partial(progress, desc="checking")
    )
    original_sets.refuse_bad(problems, len(stems), args.skip_bad)
    labels = None if labels is None else labels[[s not in problems for s in stems]]
    stems = [s for s in stems if s not in problems]
    order = original_sets.order_of(len(stems), args.shuffle)
    labels = None if labels is None else labels[order]
    images = (read(stems[index]) for index in progress(order, desc="writing"))
    codec = UVCodec(
        modalities=tuple((k, 3) for k in kinds), encoding="absolute",
        center_mm=tuple(args.center_mm), extent_mm=args.extent_mm,
    )  # fmt: skip
    write_records(args.out, images, labels, codec)
    _done(args, len(stems), labels)


def _create_from_hdf5(args):
    from facejax.data import original_sets
    from facejax.data.labels import read_labels
    from facejax.data.uvmaps import UVCodec
    from facejax.host.locks import check_new

    check_new(args.out)
    file = original_sets.Hdf5Images(args.hdf5)
    try:
        labels = file.labels()
        if args.labels:
            labels = read_labels(args.labels, [f"{i:08d}" for i in range(len(file))])[0]
        order = original_sets.order_of(len(file), args.shuffle)
        labels = None if labels is None else labels[order]
        codec = UVCodec(modalities=(("texture", 3),), encoding="absolute")
        write_records(args.out, file.images(progress(order, desc="writing")), labels, codec)
        _done(args, len(file), labels)
    finally:
        file.close()


def _done(args, count, labels):
    width = 0 if labels is None else labels.shape[1]
    print(f"wrote {count} examples with {width} label(s) as TFRecords to {args.out}")


class SetReader:
    """Batches of a set on disk; every process that gets one opens the set itself."""

    def __init__(self, folder, skip_corrupt, source=None):
        self.folder, self.skip_corrupt, self._source = folder, skip_corrupt, source

    def __getstate__(self):
        return self.__dict__ | {"_source": None}

    def __call__(self, start, stop):
        import numpy as np

        from facejax.data.folders import open_dataset

        if self._source is None:
            self._source = open_dataset(self.folder, self.skip_corrupt)
        for first in range(start, stop, 16):
            rows = np.arange(first, min(first + 16, stop))
            yield self._source.batch(rows) | {"names": [self._source.names[i] for i in rows]}


class MapsReader:
    """Encoded maps of single files.

    Args:
      files: {stem: {kind: path}}.
      labels: [N, L] in the same order.
      codec: the encoding.
      shown: (extent, centre) in mm of normalised shapes, or None for shapes in mm.
    """

    def __init__(self, files, labels, codec, shown):
        self.files, self.labels, self.codec, self.shown = files, labels, codec, shown

    def __call__(self, start, stop):
        import numpy as np

        from facejax.data.map_files import read_maps

        stems = list(self.files)
        for i in progress(range(start, stop), desc="writing"):
            maps = read_maps(self.files[stems[i]])
            shape = maps["shape"]
            if self.shown:
                extent, center = self.shown
                shape = shape * np.float32(extent) + np.asarray(center, np.float32)
            encoded = np.asarray(self.codec.encode(maps["texture"], shape, maps["normals"]))
            yield {"maps": encoded[None], "labels": self.labels[i][None], "names": [stems[i]]}


def convert(args, write):
    """Any set to packed, TFRecords or TFDS.

    Args:
      args: of the command line.
      write: dataset_tool's writer.
    """
    from facejax.host.locks import check_new

    check_new(args.out)
    source = open_set(args, args.folder)
    bytes_ = source.meta["dtype"] == "uint8" and args.format == "packed"
    args.dtype = args.dtype or ("uint8" if bytes_ else "float32")
    read = SetReader(args.folder, args.skip_corrupt, source)
    value_range = args.value_range or tuple(source.meta.get("value_range", (-1.0, 1.0)))
    meta = {"converted_from": pathlib.Path(args.folder).name}
    write(
        args, read, len(source), source.resolutions[-1], source.codec, source.label_names,
        value_range, meta,
    )  # fmt: skip


def add_verbs(commands) -> None:
    """Adds the original's verbs, with the original's order of arguments."""
    names = {"texture": "TEXDIR", "shape": "SHAPEDIR", "normals": "NORMALDIR"}
    for verb, kinds in MODALITIES.items():
        text = f"TFRecords of {', '.join(kinds)}, as TBGAN's own tool makes them"
        sub = _verb(commands, verb, text, _create)
        for kind in kinds:
            files = "images" if kind == "texture" else "[3,H,W] pickles or npy"
            sub.add_argument(f"{kind}_dir", metavar=names[kind], help=f"folder of {files}")
        sub.add_argument(
            "--center_mm", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("X", "Y", "Z"),
            help="what 0 stands for in shape maps; kept in codec.json",
        )  # fmt: skip
        sub.add_argument("--extent_mm", type=float, default=100.0, help="mm per unit of shape maps")
        sub.add_argument("--skip_bad", action="store_true", help="leave unusable faces out")
    sub = _verb(commands, "create_from_hdf5", "TFRecords of a legacy HDF5 file", _create_from_hdf5)
    sub.add_argument("hdf5", metavar="FILE", help="uint8 [N,C,H,W] in data*; FILE-labels.npy")


def _verb(commands, name, text, function):
    sub = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(function=function, limit=None)
    sub.add_argument("out", metavar="OUT", help="new folder")
    sub.add_argument("--shuffle", type=int, default=1, help="0 keeps the sorted order (1)")
    sub.add_argument("--labels", help="csv (id,name,...), npz (ids, labels) or npy by stem order")
    return sub
