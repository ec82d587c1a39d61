"""Prepares photos with landmarks for training, in the folder layouts of both Deep3D programs.

    python data_prep/preprocess_images.py --img_path=input --save_path=processed_data
    python data_prep/preprocess_images.py --data_root=datasets --img_folder A B --mode=train
    python data_prep/preprocess_images.py --img_path=input --save_path=gan --regressor=runs/deep3d

The first (Deep3DFaceReconstruction) writes crops of 224 px: NAME.png, lm/, lm_bin/, mask/, and in
transform/ the way back to the photo (facejax.data.photo_folders.read_transform). The second
(Deep3DFaceRecon_pytorch) leaves the photos where they are, adds landmarks/, mask/ and vis/, and
writes datalist/MODE/{images,landmarks,masks}.txt. Train with either:
--config.data.source=folder --config.data.path=processed_data (or datalist/train). The third
(DiscoFaceGAN's preprocess_data.py) writes img/NAME.png, pictures of 256 px whose face stands at the
centre, for data_prep/dataset_tool.py create_from_images, and coeff/NAME.mat, what the regressor (a
run of deep3d or imported weights) found, for --config.data.coefficients; five points will do.

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
import contextlib
import dataclasses
import json
import pathlib
import sys
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from data_prep import sets  # noqa: E402
from facejax.commands import common  # noqa: E402
from facejax.host import flags, machine  # noqa: E402
from facejax.host.files import atomic_path  # noqa: E402
from facejax.host.locks import folder_lock  # noqa: E402

_DOWN, _UP = ("", "detections"), ("landmarks", "lm", "lm_bin")
_OTHERS = (
    "mask",
    "vis",
    "check",
    "remove",
    "transform",
    "img",
    "coeff",
    *_UP,
)  # sub-folders without photos
_LEFT_OUT = ("error", "not done")  # states of photos that were left out
_SHOWN = 5  # messages printed at the end


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--img_path", help="folder of photos (or of sub-folders of photos), for crops")
    p.add_argument("--save_path", default="processed_data", help="for crops (processed_data)")
    p.add_argument("--regressor", default="", help="for training pictures of disco: run or .npz")
    p.add_argument("--model", help="face model of imported weights")
    p.add_argument("--data_root", default="datasets", help="holds the folders (datasets)")
    p.add_argument("--img_folder", nargs="+", help="folders of photos, to be labelled in place")
    p.add_argument("--mode", choices=("train", "val"), default="train", help="of the lists (train)")
    p.add_argument("--lists", default="datalist", help="folder of the lists (datalist)")
    p.add_argument("--landmarks", help="folder of landmark files, y down, searched first")
    p.add_argument(
        "--threshold", type=float, help="skin above this posterior counts fully (paper: 0.5)"
    )
    p.add_argument(
        "--vis", type=flags.COUNT, default=100, help="draw every n-th photo; 0 for none (100)"
    )
    p.add_argument(
        "--remove", action="store_true", help="with --img_folder: move bad photos to remove/"
    )
    p.add_argument("--jobs", type=flags.POSITIVE, default=4, help="photos at a time (4)")
    p.add_argument("--keep_odd", action="store_true", help="use photos with odd points too")
    return p


@dataclasses.dataclass(frozen=True)
class Job:
    """One photo: its file, number, the name of the files made of it, and a `LandmarkIndex`."""

    image: pathlib.Path
    number: int
    name: str
    index: object


@dataclasses.dataclass
class Points:
    """Landmarks of one photo, y down: five [5, 2], and all 68 or None."""

    five: object
    all68: object = None


def find_points(image: pathlib.Path, height: int, folder: str | None, index) -> Points:
    """The landmarks of a photo: the first 68 found, and the first five.

    Args:
      image: the photo.
      height: of the pixels that points with y up belong to.
      folder: searched first.
      index: a `LandmarkIndex`.
    """
    from facejax.data.alignment import landmarks5_from_68
    from facejax.data.photo_folders import flip_y
    from facejax.io.landmarks import SUFFIXES

    places = [(pathlib.Path(folder), False)] if folder else []
    places += [(image.parent / n, False) for n in _DOWN]
    places += [(image.parent / n, True) for n in _UP]
    found = {}
    for place, up in places:
        for _, points in index.read(place, image.stem):
            found.setdefault(len(points), flip_y(points, height) if up else points)
            if len(found) == 2:
                break
    five, all68 = found.get(5), found.get(68)
    if not found:
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


def checked_photo(job, args, out):
    """(pixels, points) of a photo; odd points are drawn into OUT/check, and raise ValueError."""
    from facejax.data.alignment import check_landmarks5
    from facejax.data.photo_folders import read_pixels
    from facejax.io.images import write_image

    image = job.image
    pixels = read_pixels(image)
    points = find_points(image, len(pixels), args.landmarks, job.index)
    complaints = check_landmarks5(points.five, pixels.shape[:2])
    if complaints and (turned := turned_points(job, args)):
        points, complaints = turned, []
    if complaints:
        path = out / "check" / f"{job.name}.png"
        write_image(path, draw(pixels, points.five, complaints))
        if not args.keep_odd:
            raise ValueError(f"{image}: {'; '.join(complaints)}; see {path}")
    return pixels, points


def turned_points(job, args) -> Points | None:
    """Points that were measured without the photo's orientation tag, turned; None if not so."""
    from facejax.data.alignment import TURNS, check_landmarks5, turn_points
    from facejax.io.images import read_header

    size, tag = read_header(job.image)
    if tag not in TURNS:
        return None
    stored = find_points(job.image, size[0] if tag == 3 else size[1], args.landmarks, job.index)
    five = turn_points(stored.five, size, tag)
    if check_landmarks5(five, size):
        return None
    print(f"{job.image}: its landmarks were measured on the stored pixels; turned as the photo is")
    return Points(five, None if stored.all68 is None else turn_points(stored.all68, size, tag))


def make_crop(job, args, out):
    """One photo of layout 'crops'."""
    from facejax.data.alignment import align_photo
    from facejax.data.photo_folders import flip_y, write_crop
    from facejax.image.skin import skin_mask
    from facejax.io.images import write_image

    pixels, points = checked_photo(job, args, out)
    photo = align_photo(pixels, points.five)
    if points.all68 is not None:
        moved = photo.transform.to_crop(points.all68)
        photo = dataclasses.replace(photo, landmarks=moved)
    write_crop(out, job.name, photo, skin_mask(photo.crop, args.threshold))
    if args.vis and job.number % args.vis == 0:
        marks = flip_y(photo.landmarks, len(photo.crop))
        write_image(out / "vis" / f"{job.name}.png", draw(photo.crop, marks))
    return points.all68 is not None


class TrainingPictures:
    """One photo of layout 'gan', and the network that finds its face.

    Args:
      weights, model: see `facejax.pipelines.regressors.load_regressor`.
    """

    def __init__(self, weights: str, model: str | None):
        from facejax.pipelines.regressors import load_regressor

        self.regressor = load_regressor(weights, model)

    def __call__(self, job, args, out):
        import numpy as np
        from scipy.io import savemat

        from facejax.image.resample import resize
        from facejax.io.images import write_image
        from facejax.recon.decoder import split
        from facejax.systems.disco import alignment
        from facejax.systems.disco.factors import from_recon, join_coefficients

        pixels, points = checked_photo(job, args, out)
        crop = alignment.cut_crop(pixels, points.five).crop
        seen = alignment.regressor_input(crop).astype(np.float32)[None] / 255
        size = (self.regressor.size,) * 2
        vector = self.regressor.predict(np.asarray(resize(seen, size))).coeffs
        found = split(vector, self.regressor.model)
        picture = alignment.training_picture(crop, np.asarray(found.trans)[0])
        row = [join_coefficients(from_recon(found)), found.trans]
        write_image(out / "img" / f"{job.name}.png", picture)
        (out / "coeff").mkdir(exist_ok=True)
        with (
            atomic_path(out / "coeff" / f"{job.name}.mat") as target,
            target.open("wb") as file,
        ):
            savemat(file, {"coeff": np.concatenate(row, axis=-1).astype(np.float32)})
        return True


def label_photo(job, args, out):
    """One photo of layout 'photos'."""
    from facejax.data.alignment import align
    from facejax.data.photo_folders import flip_y, write_labels
    from facejax.image.skin import skin_mask
    from facejax.io.images import write_image

    pixels, points = checked_photo(job, args, out)
    align(points.five, pixels.shape[:2]).cut(pixels)  # as training will: a failure shows now
    up = None if points.all68 is None else flip_y(points.all68, len(pixels))
    write_labels(out, job.name, up, skin_mask(pixels, args.threshold))
    if args.vis and job.number % args.vis == 0:
        marks = points.five if points.all68 is None else points.all68
        write_image(out / "vis" / f"{job.name}.png", draw(pixels, marks))
    return points.all68 is not None


def jobs_of(images: list[pathlib.Path], folder: pathlib.Path) -> list[Job]:
    """A job for each photo of a folder; photos of sub-folders are named happy_anna."""
    from facejax.io.images import image_names
    from facejax.io.landmarks import LandmarkIndex

    index = LandmarkIndex()
    names = [name.replace("/", "_") for name in image_names(images, folder)]
    return [Job(*job, index) for job in zip(images, range(len(images)), names, strict=True)]


def process(jobs, work, args, out) -> dict[str, str]:
    """Runs `work` on every photo; image -> what became of it.

    'ok', 'five points only', 'error: ...' for a photo or landmarks that cannot be used, or
    'not done: ...' for what is no fault of the photo: memory, permissions.
    """
    first = {job.name.casefold(): job for job in reversed(jobs)}

    def state(job):
        try:
            if first[job.name.casefold()] != job:
                other = first[job.name.casefold()].image.name
                raise ValueError(f"{job.image}: {other} has the same name; rename one of them")
            return "ok" if work(job, args, out) else "five points only"
        except Exception as error:  # whatever a damaged file makes Pillow raise
            if machine.stops_all(error, job.image, out):
                raise
            known = isinstance(error, (ValueError, OSError, MemoryError))
            words = str(error) if known else f"{job.image}: {type(error).__name__}: {error}"
            fault = "not done" if isinstance(error, (OSError, MemoryError)) else "error"
            return f"{fault}: {words}"

    # Pillow and numpy free the interpreter's lock for most of the work
    pool = concurrent.futures.ThreadPoolExecutor(args.jobs)
    try:
        found = pool.map(state, jobs)
        states = list(sets.progress(found, desc=f"preparing {out}", total=len(jobs)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    report = {str(job.image): words for job, words in zip(jobs, states, strict=True)}
    with atomic_path(out / "report.json") as path:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    errors = [s for s in states if s.startswith(_LEFT_OUT)]
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
        target = folder / "remove" / image.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        while target.exists():  # of an earlier run
            target = target.with_stem(f"{target.stem}_again")
        image.replace(target)
    if bad:
        print(f"{folder / 'remove'}: {len(bad)} photos moved here")


def run(args: argparse.Namespace) -> int:
    """Does the work; returns the exit code."""
    from facejax.io.images import find_images

    if bool(args.img_path) == bool(args.img_folder):
        raise ValueError(
            "wanted either --img_path=FOLDER (makes crops) or --img_folder A B ... (labels photos "
            "in place); see --help"
        )
    if args.jobs < 1:
        raise ValueError(f"found --jobs={args.jobs}, wanted at least 1")
    if args.regressor and not args.img_path:
        raise ValueError("--regressor makes training pictures of --img_path, not of --img_folder")
    reports = []
    if args.img_path:
        out = pathlib.Path(args.save_path)
        if out.resolve() == pathlib.Path(args.img_path).resolve():
            raise ValueError(f"--save_path is the folder of the photos, {out}; name another one")
        jobs = jobs_of(find_images(args.img_path, _OTHERS), pathlib.Path(args.img_path))
        work = TrainingPictures(args.regressor, args.model) if args.regressor else make_crop
        with folder_lock(out, "preparing photos"):
            reports.append(process(jobs, work, args, out))
    else:
        reports = label_folders(args)
    if all(state.startswith(_LEFT_OUT) for report in reports for state in report.values()):
        raise ValueError("not one photo could be prepared; the messages above say why")
    return 0


def label_folders(args: argparse.Namespace) -> list[dict[str, str]]:
    """Labels the photos of several folders in place and writes the lists; a report per folder."""
    from facejax.data.photo_folders import PhotoFiles, write_lists
    from facejax.io.images import find_images

    lists = pathlib.Path(args.lists) / args.mode
    reports, listed = [], []
    with contextlib.ExitStack() as stack:
        folders = [pathlib.Path(args.data_root) / name for name in args.img_folder]
        found = {f: jobs_of(find_images(f, _OTHERS), f) for f in folders}  # all of them, first
        for folder in (*folders, lists):
            stack.enter_context(folder_lock(folder, "preparing photos"))
        for folder, jobs in found.items():
            reports.append(process(jobs, label_photo, args, folder))
            if args.remove:
                remove_bad(folder, reports[-1])
            listed += [
                PhotoFiles(
                    job.image,
                    folder / "landmarks" / f"{job.name}.txt",
                    folder / "mask" / f"{job.name}.png",
                    False,
                )
                for job in jobs
                if reports[-1][str(job.image)] == "ok"
            ]
        write_lists(lists, listed)
    print(f"{lists}: {len(listed)} photos listed")
    return reports


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
