"""What a system lets a user do with its runs: the verbs of its verbs.py.

A system's folder may hold `verbs.py` with `VERBS: dict[str, Verb | dict[str, Verb]]`, a nested dict
for a verb with subcommands. Commands read it for --help, so it imports nothing heavy by itself.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from facejax.train.runs import find_systems, system_module

if TYPE_CHECKING:
    from facejax.train.runs import Run


@dataclasses.dataclass(frozen=True)
class Verb:
    """Something to do with a trained run.

    Attributes:
      help: one line.
      flags: adds the flags to a parser; --workdir is there already.
      run: does it with the run and the flags' values; returns what to look at first.
      checkpoint: False where `run` reads what it needs of the folder itself: the run that it gets
        has no params and no meta, and may have no checkpoint.
    """

    help: str
    flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[["Run", argparse.Namespace], list[pathlib.Path]]
    checkpoint: bool = True


def system_verbs(system: str) -> Mapping[str, Verb | Mapping[str, Verb]]:
    """The verbs of a system; none where its folder has no verbs.py.

    Raises:
      ValueError: there is no such system.
    """
    folder = find_systems().get(system)
    if folder is not None and not (folder / "verbs.py").is_file():
        return {}
    return system_module(system, "verbs").VERBS


def find_verbs() -> dict[str, dict[str, Verb | Mapping[str, Verb]]]:
    """{verb: {system: Verb, or its subcommands}} of all systems."""
    found: dict[str, dict[str, Verb | Mapping[str, Verb]]] = {}
    for system in find_systems():
        for name, verb in system_verbs(system).items():
            found.setdefault(name, {})[system] = verb
    return found


def verb_names(system: str) -> list[str]:
    """What to type for each verb of a system: 'generate', 'analyze grid', ..."""
    names = []
    for name, verb in system_verbs(system).items():
        names += [name] if isinstance(verb, Verb) else [f"{name} {sub}" for sub in verb]
    return names
