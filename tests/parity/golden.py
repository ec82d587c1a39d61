"""Where the reference vectors lie: FACEJAX_GOLDEN, else ../shared/golden beside the checkout."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(
    os.environ.get(
        "FACEJAX_GOLDEN", pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    )
)


def case_files(folder: str, pattern: str) -> list:
    """Parameters for pytest, one per file; one skipped parameter where the folder is absent."""
    files = sorted((ROOT / folder).glob(pattern))
    if not files:
        reason = f"no {pattern} in {ROOT / folder}; set FACEJAX_GOLDEN to run these tests"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(f, id=f.stem) for f in files]
