"""Prepares photos with landmarks for training, in the folder layouts of both Deep3D programs.

    python data_prep/preprocess_images.py --img_path=input --save_path=processed_data
    python data_prep/preprocess_images.py --data_root=datasets --img_folder A B --mode=train

The first (Deep3DFaceReconstruction) writes crops of 224 px: NAME.png, lm/, lm_bin/, mask/, and in
transform/ the way back to the photo (facejax.data.photo_folders.read_transform). The second
(Deep3DFaceRecon_pytorch) leaves the photos where they are, adds landmarks/, mask/ and vis/, and
writes datalist/MODE/{images,landmarks,masks}.txt. Train with either:
--config.data.source=folder --config.data.path=processed_data (or datalist/train).

Landmarks of a photo are looked for in --landmarks, beside the photo, in detections/ (all y down,
five or 68 points) and in landmarks/, lm/, lm_bin/ (68 points, y up, as prepared folders hold them):
NAME.txt, .pts, .bin, .npy or .mat (300W-LP, AFLW2000-3D). Five points: left-in-image eye,
right-in-image eye, nose tip, left and right mouth corner (dlib's five are other points). From 68
points the five are derived. Training needs 68: photos with five only are cropped, but not listed.

Odd points are reported and drawn into check/; a bad file never stops the rest. report.json says
what became of every photo. --remove moves what cannot be used to remove/, as the second program
does.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import pathlib
import sys
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from data_prep import sets  # noqa: E402
from facejax.commands import common  # noqa: E402
from facejax.host import machine  # noqa: E402

_DOWN, _UP = ("", "detections"), ("landmarks", "lm", "lm_bin")
_SHOWN = 5  # messages printed at the end


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--img_path", help="folder of photos, for crops")
    p.add_argument("--save_path", default="processed_data", help="for crops (processed_data)")
    p.add_argument("--data_root", default="datasets", help="holds the folders (datasets)")
    p.add_argument("--img_folder", nargs="+", help="folders of photos, to be labelled in place")
    p.add_argument("--mode", choices=("train", "val"), default="train", help="of the lists (train)")
    p.add_argument("--lists", default="datalist", help="folder of the lists (datalist)")
    p.add_argument("--landmarks", help="folder of landmark files, y down, searched first")
    p.add_argument(
        "--threshold", type=float, help="skin above this posterior counts fully (paper: 0.5)"
    )
    p.add_argument("--vis", type=int, default=100, help="draw every n-th photo; 0 for none (100)")
    p.add_argument(
        "--remove", action="store_true", help="with --img_folder: move bad photos to remove/"
    )
    p.add_argument("--jobs", type=int, default=4, help="photos at a time (4)")
    p.add_argument("--keep_odd", action="store_true", help="use photos with odd points too")
    return p


@dataclasses.dataclass
class Points:
    """Landmarks of one photo, y down: five [5, 2], and all 68 or None."""

    five: object
    all68: object = None


def find_points(image: pathlib.Path, height: int, folder: str | None) -> Points:
    """The landmarks of a photo: the first 68 found, and the first five."""
    from facejax.data.alignment import landmarks5_from_68
    from facejax.data.photo_folders import flip_y
    from facejax.io.landmarks import SUFFIXES, read_landmarks

    places = [(pathlib.Path(folder), False)] if folder else []
    places += [(image.parent / n, False) for n in _DOWN]
    places += [(image.parent / n, True) for n in _UP]
    five = all68 = None
    for place, up in places:
        for path in (place / f"{image.stem}{suffix}" for suffix in SUFFIXES):
            if not path.is_file():
                continue
            points = read_landmarks(path)
            if len(points) not in (5, 68):
                raise ValueError(f"{path}: found {len(points)} points, wanted 5 or 68")
            points = flip_y(points, height) if up else points
            if len(points) == 5 and five is None:
                five = points
            if len(points) == 68 and all68 is None:
                all68 = points
    if five is None and all68 is None:
        raise ValueError(
            f"{image}: found no landmarks {image.stem}{{{','.join(SUFFIXES)}}} beside the photo, "
            "in detections/ or in --landmarks; wanted five or 68 points"
        )
    return Points(landmarks5_from_68(all68) if five is None else five, all68)


def draw(pixels, points, lines=()):
    """A copy of a photo with its points, numbered from 1, and lines of text."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    radius = max(2, max(pixels.shape[:2]) // (100 if len(points) == 5 else 150))
    font = ImageFont.load_default(max(10, 3 * radius))
    for i, (x, y) in enumerate(np.asarray(points)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(255, 40, 40))
        pen.text((x + radius + 1, y - radius - 1), str(i + 1), fill=(255, 255, 0), font=font)
    letters = max(10, int(picture.width / pen.textlength("m")))
    rows = [row for line in lines for row in textwrap.wrap(line, letters)]
    for k, row in enumerate(rows):
        pen.rectangle((0, 14 * k, picture.width, 14 * k + 14), fill=(0, 0, 0))
        pen.text((3, 14 * k + 1), row, fill=(255, 255, 255))
    return np.asarray(picture)


def checked_photo(image, args, out):
    """(pixels, points) of a photo; odd points are drawn into OUT/check, and raise ValueError."""
    from facejax.data.alignment import check_landmarks5
    from facejax.data.photo_folders import read_pixels
    from facejax.io.images import write_image

    pixels = read_pixels(image)
    points = find_points(image, len(pixels), args.landmarks)
    complaints = check_landmarks5(points.five, pixels.shape[:2])
    if complaints:
        path = out / "check" / f"{image.stem}.png"
        write_image(path, draw(pixels, points.five, complaints))
        if not args.keep_odd:
            raise ValueError(f"{image}: {'; '.join(complaints)}; see {path}")
    return pixels, points


def make_crop(image, number, args, out):
    """One photo of layout 'crops'."""
    from facejax.data.alignment import align_photo
    from facejax.data.photo_folders import flip_y, write_crop
    from facejax.image.skin import skin_mask
    from facejax.io.images import write_image

    pixels, points = checked_photo(image, args, out)
    photo = align_photo(pixels, points.five)
    if points.all68 is not None:
        moved = photo.transform.to_crop(points.all68)
        photo = dataclasses.replace(photo, landmarks=moved)
    write_crop(out, image.stem, photo, skin_mask(photo.crop, args.threshold))
    if args.vis and number % args.vis == 0:
        marks = flip_y(photo.landmarks, len(photo.crop))
        write_image(out / "vis" / f"{image.stem}.png", draw(photo.crop, marks))
    return points.all68 is not None


def label_photo(image, number, args, out):
    """One photo of layout 'photos'."""
    from facejax.data.alignment import align
    from facejax.data.photo_folders import flip_y, write_labels
    from facejax.image.skin import skin_mask
    from facejax.io.images import write_image

    pixels, points = checked_photo(image, args, out)
    align(points.five, pixels.shape[:2]).cut(pixels)  # as training will: a failure shows now
    up = None if points.all68 is None else flip_y(points.all68, len(pixels))
    write_labels(out, image.stem, up, skin_mask(pixels, args.threshold))
    if args.vis and number % args.vis == 0:
        marks = points.five if points.all68 is None else points.all68
        write_image(out / "vis" / f"{image.stem}.png", draw(pixels, marks))
    return points.all68 is not None


def process(images, work, args, out) -> dict[str, str]:
    """Runs `work` on every image; image -> 'ok', 'five points only' or what went wrong."""
    first = {image.stem: image for image in reversed(images)}

    def state(number, image):
        try:
            if first[image.stem] != image:
                other = first[image.stem].name
                raise ValueError(f"{image}: {other} has the same name; rename one of them")
            return "ok" if work(image, number, args, out) else "five points only"
        except Exception as error:  # whatever a damaged file makes Pillow raise
            if machine.stops_all(error, image, out):
                raise
            known = isinstance(error, (ValueError, OSError, MemoryError))
            words = str(error) if known else f"{image}: {type(error).__name__}: {error}"
            return f"error: {words}"

    # Pillow and numpy free the interpreter's lock for most of the work
    pool = concurrent.futures.ThreadPoolExecutor(args.jobs)
    try:
        found = pool.map(state, range(len(images)), images)
        states = list(sets.progress(found, desc=f"preparing {out}", total=len(images)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    report = {str(image): words for image, words in zip(images, states, strict=True)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    errors = [s for s in states if s.startswith("error")]
    print(
        f"{out}: {states.count('ok')} photos ready, {states.count('five points only')} with five "
        f"points only (no landmarks for training), {len(errors)} left out; {out / 'report.json'}"
    )
    for message in errors[:_SHOWN]:
        print(f"  {message}")
    if len(errors) > _SHOWN:
        print(f"  and {len(errors) - _SHOWN} more")
    return report


def remove_bad(folder: pathlib.Path, report: dict[str, str]) -> None:
    """Moves the photos that could not be used to FOLDER/remove."""
    bad = [pathlib.Path(image) for image, state in report.items() if state.startswith("error")]
    for image in bad:
        (folder / "remove").mkdir(exist_ok=True)
        image.replace(folder / "remove" / image.name)
    if bad:
        print(f"{folder / 'remove'}: {len(bad)} photos moved here")


def run(args: argparse.Namespace) -> int:
    """Does the work; returns the exit code."""
    from facejax.data.photo_folders import PhotoFiles, find_images, write_lists

    if bool(args.img_path) == bool(args.img_folder):
        raise ValueError(
            "wanted either --img_path=FOLDER (makes crops) or --img_folder A B ... (labels photos "
            "in place); see --help"
        )
    if args.jobs < 1:
        raise ValueError(f"found --jobs={args.jobs}, wanted at least 1")
    reports = []
    if args.img_path:
        out = pathlib.Path(args.save_path)
        if out.resolve() == pathlib.Path(args.img_path).resolve():
            raise ValueError(f"--save_path is the folder of the photos, {out}; name another one")
        reports.append(process(find_images(args.img_path), make_crop, args, out))
    else:
        listed = []
        folders = [pathlib.Path(args.data_root) / name for name in args.img_folder]
        found = {folder: find_images(folder) for folder in folders}  # all of them, first
        for folder, images in found.items():
            reports.append(process(images, label_photo, args, folder))
            if args.remove:
                remove_bad(folder, reports[-1])
            listed += [
                PhotoFiles(
                    image,
                    folder / "landmarks" / f"{image.stem}.txt",
                    folder / "mask" / f"{image.stem}.png",
                    False,
                )
                for image in images
                if reports[-1][str(image)] == "ok"
            ]
        write_lists(pathlib.Path(args.lists) / args.mode, listed)
        print(f"{pathlib.Path(args.lists) / args.mode}: {len(listed)} photos listed")
    if all(state.startswith("error") for report in reports for state in report.values()):
        raise ValueError("not one photo could be prepared; the messages above say why")
    return 0


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""

    def work() -> int:
        args = parser().parse_args(argv)
        folders = [pathlib.Path(args.data_root) / name for name in args.img_folder or ()]
        common.prepare([args.lists, *folders] if folders else [args.save_path])
        return run(args)

    return common.report_errors(work, "The same command begins again", "use fewer --jobs")


if __name__ == "__main__":
    sys.exit(common.whole_process(lambda: main(sys.argv[1:])))
