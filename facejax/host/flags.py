"""Types of flags: numbers with a range, so that a wrong one is refused before anything starts."""

import argparse
import math
from collections.abc import Callable


def number(
    kind: type[int] | type[float], least: float = -math.inf, most: float = math.inf
) -> Callable[[str], float]:
    """A `type=` of argparse: a finite number of a kind, from least to most.

    Args:
      kind: int or float.
      least, most: both included.
    """

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most):
            words = "a whole number" if kind is int else "a number"
            words += f" from {least:g}" if least > -math.inf else ""
            words += f" to {most:g}" if most < math.inf else ""
            raise argparse.ArgumentTypeError(f"found {text!r}, wanted {words}")
        return value

    return parse


POSITIVE, COUNT = number(int, 1), number(int, 0)  # how many; how many, or none: also seeds
