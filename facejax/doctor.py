"""What this machine has, what is missing, what works without it, and whether numbers are right.

Behind `facejax doctor`; `python -m facejax.doctor` is the same. `collect` gathers everything into
plain JSON-able data, `describe` makes text of it. `look_at` and `describe_files` do the same for
files and folders.
"""

import dataclasses
import importlib.metadata
import math
import os
import pathlib
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

from facejax.host import machine
from facejax.readers import READERS, recognise
from facejax.train.runs import find_systems
from facejax.version import __version__

REQUIRED = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "numpy", "scipy",
    "pillow", "trimesh", "imageio", "tensorboardX", "tensorflow-datasets", "clu",
)  # fmt: skip
# package: what it is for, what happens without it
OPTIONAL = {
    "imageio-ffmpeg": ("MP4 videos", "videos become GIFs"),
    "tensorboard": ("viewing the curves of a run", "metrics.jsonl holds the same numbers"),
    "jax-cuda12-plugin": ("NVIDIA GPUs, CUDA 12", "everything runs on CPU"),
    "jax-cuda13-plugin": ("NVIDIA GPUs, CUDA 13", "everything runs on CPU"),
    "libtpu": ("TPUs", "everything runs on CPU"),
    "pytest": ("tests", "only the tests need it"),
    "scikit-image": ("tests: SSIM of another library", "only the tests need it"),
    "opencv-python-headless": ("tests: a face detector on our pictures", "only the tests need it"),
}
# what, licence, commercial use
LICENCES = (
    ("facejax, its code", "Apache-2.0", "yes"),
    ("procedural face model and everything made with it", "Apache-2.0, formulas only", "yes"),
    ("built-in head 'makehuman' (from MakeHuman's data)", "CC0 1.0", "yes"),
    ("weights that you train on the built-in heads", "yours", "yes"),
    ("weights that you train on other data", "as the data's", "as the data's"),
    ("ICT-FaceKit, light model (not included)", "MIT", "yes"),
    ("Basel Face Model 2009, 2017, 2019 (not included)", "University of Basel, on request", "no"),
    ("FLAME (not included)", "Max Planck Society, by version", "FLAME 2023 Open only"),
    ("TBGAN, published weights (not included)", "signed agreement, research only", "no"),
    ("TBGAN, published code (not used)", "GPL-3.0 and CC BY-NC 4.0", "no"),
)
ICT_URL = "https://github.com/ICT-VGL/ICT-FaceKit"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> dict[str, Any]:
    found = {name: _version(name) for name in OPTIONAL}
    if found["imageio-ffmpeg"]:
        from facejax.io.video import has_ffmpeg

        found["imageio-ffmpeg"] = found["imageio-ffmpeg"] if has_ffmpeg() else None
    return dict(required={name: _version(name) for name in REQUIRED}, optional=found)


def _face_models(ict_path: str | None) -> list[dict[str, Any]]:
    models = [
        dict(name="makehuman", found=True, note="built in (CC0); needs no file"),
        dict(name="procedural", found=True, note="built in; needs no file"),
    ]
    if not ict_path:
        note = f"MIT licence; get {ICT_URL} and give --ict PATH or FACEJAX_ICT"
        models.append(dict(name="ict", found=False, note=note))
    else:
        models.append(dict(name="ict", **_ict(pathlib.Path(ict_path))))
    for name, note in (
        ("bfm", "licensed, not included; read from your files, see below"),
        ("flame", "licensed, not included; nothing in this version reads it"),
    ):
        models.append(dict(name=name, found=False, note=note))
    return models


def _ict(path: pathlib.Path) -> dict[str, Any]:
    from facejax.host.arrays import npz_names
    from facejax.morphable import ict

    if not path.exists():
        return dict(found=False, note=f"{path}: no such file or folder")
    try:
        good = bool(ict.find_obj_folder(path)) if path.is_dir() else (
            set(ict.RAW_KEYS) <= npz_names(path)
        )  # fmt: skip
    except ValueError as error:
        return dict(found=False, note=str(error))
    if not good:
        return dict(found=False, note=f"{path}: no ICT-FaceKit, nor an .npz converted from it")
    return dict(found=True, note=f"load_morphable('ict', path={str(path)!r})")


def collect(ict_path: str | None = None, self_test: bool = True) -> dict[str, Any]:
    """Everything that the doctor knows.

    Args:
      ict_path: ICT-FaceKit, or an .npz converted from it; None looks at FACEJAX_ICT.
      self_test: compile and run the numeric checks.

    Returns:
      JSON-able dict, that of `host.machine.describe` and more; 'healthy' is false where there are
      problems, a check failed or a required package is missing.
    """
    from facejax.train.prerequisites import cached_runs

    report: dict[str, Any] = dict(
        facejax=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        cpu_cores=os.cpu_count(),
        **machine.describe(),
        packages=_packages(),
        face_models=_face_models(ict_path or os.environ.get("FACEJAX_ICT")),
        systems=list(find_systems()),
        readers=[dataclasses.asdict(r) for r in READERS.values()],
        cached_runs=[str(path) for path in cached_runs()],
        licences=[dict(zip(("what", "licence", "commercial"), x, strict=True)) for x in LICENCES],
        self_test=[],
    )
    healthy = not report["problems"] and all(report["packages"]["required"].values())
    if self_test and "error" not in report["devices"]:
        from facejax import selftest

        start = time.monotonic()
        checks = selftest.run()
        report["self_test_seconds"] = round(time.monotonic() - start, 1)
        for check in checks:
            error = check.error if math.isfinite(check.error) else None  # JSON has no NaN
            report["self_test"].append(
                dict(
                    name=check.name, passed=check.passed, error=error, tolerance=check.tolerance,
                    unit=check.unit, note=check.note,
                )
            )  # fmt: skip
        healthy = healthy and all(check.passed for check in checks)
    return report | dict(healthy=healthy)


def _table(rows: list[tuple]) -> list[str]:
    """Lines with aligned columns."""
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip()
            for r in text]  # fmt: skip


def describe(report: dict[str, Any]) -> str:
    """The report as text.

    Args:
      report: from `collect`.
    """
    devices, packages = report["devices"], report["packages"]
    if "error" in devices:
        where = f"FAIL: {devices['error']}"
    else:
        kinds = ", ".join(f"{num} x {kind}" for kind, num in devices["kinds"].items())
        where = f"{devices['backend']}: {kinds}"
    versions = [f"{k} {v or 'MISSING'}" for k, v in packages["required"].items()]
    lines = [
        f"facejax {report['facejax']}, Python {report['python']}, {report['platform']}",
        f"  devices: {where}",
        f"  processors: {report['cpu_cores']}",
    ]
    lines += ["  " + ", ".join(versions[i : i + 5]) for i in range(0, len(versions), 5)]
    lines += ["", "Folders (caches are safe to delete)"]
    folders = {k.replace("_", " "): v for k, v in report["caches"].items()}
    folders["temporary files"] = report["temporary"]
    rows = [(name, *_folder_row(folder)) for name, folder in folders.items()]
    for name in ("home", "working_folder"):
        place = report[name]
        rows.append((name.replace("_", " "), place.get("path", "-"), place.get("error", "")))
    lines += _table(rows)
    names = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in report["encodings"].items())
    lines.append(f"  encodings: {names}")
    lines += ["", "Optional packages"]
    rows = []
    for name, version in packages["optional"].items():
        purpose, without = OPTIONAL[name]
        rows.append((name, version or "missing", purpose if version else f"{purpose}: {without}"))
    lines += _table(rows)
    lines += ["", f"Face models (systems: {', '.join(report['systems'])})"]
    models = report["face_models"]
    lines += _table([(m["name"], "found" if m["found"] else "-", m["note"]) for m in models])
    lines += ["", "What facejax reads; `facejax doctor PATH ...` says what a file or folder is"]
    readers = [(r["group"], r["what"], r["use"].format(path="PATH")) for r in report["readers"]]
    lines += _table(readers)
    lines += ["", "Finished runs in the cache, for --config.KEY=auto"]
    lines += [f"  {path}" for path in report["cached_runs"]] or ["  none"]
    lines += ["", "Licences"]
    rows = [("", "licence", "commercial use")]
    lines += _table(rows + [(x["what"], x["licence"], x["commercial"]) for x in report["licences"]])
    if report["self_test"]:
        lines += ["", f"Self-test ({report['self_test_seconds']} s)"]
        lines += _table([_check_row(check) for check in report["self_test"]])
    problem = "Something is wrong: see FAIL, MISSING or NOT WRITABLE above."
    return "\n".join([*lines, "", "All is well." if report["healthy"] else problem])


def _folder_row(folder: dict[str, Any]) -> tuple[str, str]:
    """Where a folder is, and its state."""
    if not folder["writable"]:
        return folder["path"] or "-", f"NOT WRITABLE: {folder['problem']}"
    size = f"{folder['files']} files, {folder['mib']} MiB"
    return folder["path"], f"{size}, {folder['free']} free" if folder["free"] else size


def look_at(paths: Sequence[str | os.PathLike]) -> list[dict[str, str]]:
    """What files and folders are.

    Args:
      paths: of anything; no pickle is loaded.

    Returns:
      One or more dicts per path: 'path', 'reader' (a key of `READERS`, or ''), 'what', 'use'.
    """
    return [dataclasses.asdict(found) for path in paths for found in recognise(path)]


def describe_files(found: list[dict[str, str]]) -> str:
    """What `look_at` found, as text."""
    lines = []
    for item in found:
        lines.append(f"{item['path']}: {item['what']}")
        lines += [f"  {item['use']}"] if item["use"] else []
    return "\n".join(lines)


def _check_row(check: dict[str, Any]) -> tuple[str, str, str]:
    verdict = "PASS" if check["passed"] else "FAIL"
    if check["note"]:
        return verdict, check["name"], check["note"]
    error = "not a number" if check["error"] is None else f"{check['error']:.2g}"
    unit = f" {check['unit']}" if check["unit"] else ""
    return verdict, check["name"], f"{error}{unit} (at most {check['tolerance']:g})"


if __name__ == "__main__":
    from facejax.commands.common import run_script

    sys.exit(run_script("doctor", "python -m facejax.doctor"))
