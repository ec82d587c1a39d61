"""What a run would be, as text: the configuration, the stages, the number of parameters."""

import json
import math
import pathlib
from typing import Any

import jax

from facejax.nn.init import shapes_only
from facejax.render.platform import lower_for
from facejax.train.frozen import frozen_of
from facejax.train.memory import abstract_state, step_bytes
from facejax.train.prerequisites import describe_prerequisites
from facejax.train.progress import stage_images, stage_starts
from facejax.train.run_folder import as_plain
from facejax.train.system import Plan, System


def format_table(rows: list[dict[str, Any]]) -> str:
    """Rows of {column: value} as aligned text; '-' for None, what could not be measured."""
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        if value is None:
            return "-"
        return f"{value:,}" if isinstance(value, int) else str(value)

    cells = [columns, *[[text(row.get(column, "")) for column in columns] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells
    )


def figure_rows(figures: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Nested figures as rows of a table: a dict of plain values is one row, its keys the columns.

    Args:
      figures: what `System.evaluate` returns.
      prefix: put before every name.
    """
    rows = []
    for name, value in figures.items():
        name = f"{prefix}{name}"
        if not isinstance(value, dict):
            rows.append({"figure": name, "value": value})
        elif any(isinstance(v, dict) for v in value.values()):
            rows += figure_rows(value, f"{name}/")
        else:
            rows.append({"figure": name} | value)
    return rows


def describe(config: Any, system: System, workdir: str | pathlib.Path) -> str:
    """The text of --dry_run; touches no device.

    Args:
      config: ConfigDict.
      system: built from it; its `describe` rows are used where it has them.
      workdir: of the run.
    """
    plans: dict[str, Plan] = {}
    for stage, images in stage_starts(system).items():
        plans.setdefault(stage.name, system.plan(images))
    if hasattr(system, "describe"):
        rows = system.describe()
    else:
        rows = [
            {"stage": stage.name, "batch": stage.batch_size, "images": images}
            for stage, images in stage_images(system).items()
        ]
    state = abstract_state(system)
    with shapes_only():
        frozen = frozen_of(system)
    groups = ", ".join(
        f"{group} {sum(math.prod(x.shape) for x in jax.tree.leaves(tree)):,}"
        for group, tree in state.params.items()
    )
    memory = []
    if hasattr(system, "example_shapes"):
        with lower_for("cpu"):  # no device is asked what it is
            memory = [
                {
                    "stage": name,
                    "memory_mib": round(
                        step_bytes(system, plan, state, frozen, config.accumulate) / 2**20
                    ),
                }
                for name, plan in plans.items()
            ]
    return "\n".join(
        [
            json.dumps(as_plain(config), indent=2, sort_keys=True),
            *describe_prerequisites(config, workdir),
            format_table(rows),
            *(
                [f"memory of a step, estimated, on one device:\n{format_table(memory)}"]
                if memory
                else []
            ),
            f"parameters: {groups}",
            *(f"frozen: {name}, {item.origin}" for name, item in frozen.items()),
            "dry run: nothing was started",
        ]
    )
