"""Speed per resolution of a run."""

import json
import pathlib
from typing import Any

from facejax.host.files import atomic_path, read_json_lines
from facejax.train.describe import format_table
from facejax.train.run_folder import read_config


def speed_table(workdir: str | pathlib.Path) -> str:
    """Seconds per thousand images at each resolution, without compilation, pictures, checkpoints.

    Also written to benchmark.json and benchmark.txt in the run folder.

    Args:
      workdir: of a run.

    Returns:
      The table as text.

    Raises:
      ValueError: the run has no measured steps.
    """
    workdir = pathlib.Path(workdir)
    path = workdir / "metrics.jsonl"
    records = read_json_lines(path) if path.is_file() else []
    config = read_config(workdir) or {}
    rows: dict[str, dict[str, Any]] = {}
    before = 0.0
    for record in records:
        if "sec/kimg" in record:
            empty = {"stage": record["stage"], "kimg": 0.0, "seconds": 0.0}
            row = rows.setdefault(record["stage"], empty)
            row["kimg"] += record["kimg"] - before
            row["seconds"] += (record["kimg"] - before) * record["sec/kimg"]
        before = record["kimg"]
    rows = {k: row for k, row in rows.items() if row["kimg"] > 0 and row["seconds"] > 0}
    if not rows:
        raise ValueError(f"{path} holds no measured steps: train longer, or lower config.log_every")
    for row in rows.values():
        row["sec/kimg"] = round(row["seconds"] / row["kimg"], 4)
        row["images/s"] = round(1000 * row["kimg"] / row["seconds"], 2)
        row["kimg"], row["seconds"] = round(row["kimg"], 3), round(row["seconds"], 3)
    table = format_table(list(rows.values()))
    precision = config.get("dtype", "float32")
    with atomic_path(workdir / "benchmark.json") as out:
        out.write_text(
            json.dumps({"dtype": precision, "stages": list(rows.values())}) + "\n", encoding="utf-8"
        )
    with atomic_path(workdir / "benchmark.txt") as out:
        out.write_text(table + "\n", encoding="utf-8")
    return table
