"""Versions, devices, caches, packages, face models, readers, licences, and a self-test.

facejax doctor [--json] [--ict=PATH] [--no-self_test]
facejax doctor PATH ... [--json]

With paths: what each file or folder is, by its content, and which command reads it.
Exit codes: 0 all is well; 1 a check failed, a package is missing, no device starts, a folder cannot
be written, or a path is not recognised.
"""

import argparse
import json
from collections.abc import Sequence

from facejax import doctor
from facejax.commands.common import enable_compile_cache, report_errors, setup_logging


def main(argv: Sequence[str], program: str = "facejax doctor") -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files and folders to look at")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--ict", metavar="PATH", help="ICT-FaceKit; by default FACEJAX_ICT")
    parser.add_argument(
        "--self_test", action=argparse.BooleanOptionalAction, default=True,
        help="run the numeric checks, about ten seconds of compiling",
    )  # fmt: skip
    args = parser.parse_args(list(argv))
    return report_errors(lambda: _work(args))


def _work(args: argparse.Namespace) -> int:
    if args.paths:
        found = doctor.look_at(args.paths)
        print(json.dumps(found, indent=1) if args.json else doctor.describe_files(found))
        return 0 if all(item["reader"] for item in found) else 1
    setup_logging()
    enable_compile_cache()
    report = doctor.collect(args.ict, args.self_test)
    print(json.dumps(report, indent=1) if args.json else doctor.describe(report))
    return 0 if report["healthy"] else 1
