"""The systems that are installed: what each is, its configurations, its verbs.

facejax systems

A folder facejax/systems/NAME and a file configs/NAME.py anywhere on the path add one.
"""

import argparse
import ast
import pathlib
from collections.abc import Sequence

from facejax.commands.common import report_errors
from facejax.host.process import one_line
from facejax.train.config import config_module, find_configs
from facejax.train.runs import find_systems
from facejax.train.verbs import verb_names


def description(folder: pathlib.Path) -> str:
    """The first line of the docstring of a system's system.py, without importing it."""
    text = ast.get_docstring(ast.parse((folder / "system.py").read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def describe() -> str:
    """A paragraph per system."""
    configs: dict[str, list[str]] = {}
    broken = []
    for name, file in find_configs().items():
        try:
            module = config_module(file)
            system = module.get_config().system
        except Exception as error:  # somebody's file: the others are listed all the same
            broken.append(f"{file}: cannot be read: {one_line(error)}")
            continue
        presets = [f"{name}:{preset}" for preset in getattr(module, "PRESETS", ())[1:]]
        configs.setdefault(system, []).append(", ".join([name, *presets]))
    paragraphs = []
    for name, folder in find_systems().items():
        verbs = ["train", "evaluate", *verb_names(name)]
        rows = {
            "verbs": ", ".join(verbs),
            "configs": "; ".join(configs.get(name, ["none found"])),
            "folder": str(folder),
        }
        lines = [f"{name}: {description(folder)}", *(f"  {k:8} {v}" for k, v in rows.items())]
        paragraphs.append("\n".join(lines))
    return "\n\n".join([*paragraphs, *broken])


def main(argv: Sequence[str], program: str = "facejax systems") -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(list(argv))

    def work() -> int:
        print(describe())
        return 0

    return report_errors(work)
