"""Reads damaged files in a process of its own: `python -m tests.fuzz.worker OUT FACTOR KEY ...`.

OUT gets a line of JSON before each file and one behind it, so that the reader of OUT knows which
file a crash belongs to.
"""

import faulthandler
import json
import logging
import os
import pathlib
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings

from tests.fuzz.mutations import FOREIGN, mutate

MEMORY_BYTES = 1 << 30  # above what the process holds before it reads
SECONDS = 4.0


def limit_memory() -> None:
    """Requests beyond MEMORY_BYTES fail from here on."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def damaged_files(case, files: list[pathlib.Path], count: int):
    """(what was done, file, content): foreign contents first, then random damage."""
    rng = random.Random(case.key)
    foreign = list(FOREIGN)
    rng.shuffle(foreign)
    for number in range(count):
        rng = random.Random(f"{case.key} {number}")
        file = files[number % len(files)]
        if number % 3 == 0 and number // 3 < len(foreign):
            name = foreign[number // 3]
            yield name, file, FOREIGN[name]()
        else:
            what, content = mutate(file.read_bytes(), rng)
            yield what, file, content


def problem_of(case, path: pathlib.Path, file: pathlib.Path, whole: str, checked: bool) -> str:
    """What is wrong about how a damaged file is read; '' if nothing is."""
    start, before = time.process_time(), warnings.filters[:]
    problem = ""
    try:
        found = case.read(path)
        if checked and case.digest(found) != whole:
            problem = "other data than the whole file's, without a word"
    except (ValueError, OSError) as error:
        text = str(error)
        if not any(name in text for name in (file.name, file.stem, *case.partners)):
            problem = f"no file is named: {type(error).__name__}: {text}"
        elif "\n" in text.strip():
            problem = f"several lines: {text}"
        elif "more memory than there is" in text:
            problem = f"asked for the memory that a header announces: {text}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    took = time.process_time() - start
    warnings.filters[:] = before
    return problem or (f"took {took:.1f} s" if took > SECONDS else "")


def main(out: str, factor: int, keys: list[str]) -> None:
    """Reads all damaged files of some readers."""
    from tests.fuzz.readers import CASES

    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with open(out, "a", buffering=1) as log, tempfile.TemporaryDirectory() as folder:
        made = {}
        for key in keys:
            place = pathlib.Path(folder, key)
            place.mkdir()
            path = CASES[key].make(place)
            made[key] = path, CASES[key].digest(CASES[key].read(path))
        limit_memory()
        for key in keys:
            case = CASES[key]
            path, whole = made[key]
            files = case.files(path)
            start = time.process_time()
            for number, (what, file, content) in enumerate(
                damaged_files(case, files, case.count * factor)
            ):
                print(json.dumps({"begin": key, "number": number, "what": what,
                                  "file": file.name}), file=log)  # fmt: skip
                original = file.read_bytes()
                file.write_bytes(content)
                # parts that are damaged under a checksum that fits are another file, not a lie
                checked = case.checked and what != "inside_zip"
                problem = problem_of(case, path, file, whole, checked)
                file.write_bytes(original)
                print(json.dumps({"end": key, "problem": problem}), file=log)
                if problem and os.environ.get("FUZZ_KEEP"):
                    keep = pathlib.Path(os.environ["FUZZ_KEEP"], f"{key}-{number}-{file.name}")
                    keep.write_bytes(content)
            seconds = time.process_time() - start
            print(json.dumps({"done": key, "seconds": round(seconds, 2)}), file=log)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
