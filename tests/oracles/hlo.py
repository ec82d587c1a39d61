"""What compiled programs are made of, read from their text."""

import math
import re

_COLLECTIVES = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
_BYTES = {"pred": 1, "i1": 1, "8": 1, "16": 2, "32": 4, "64": 8}
_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|called_computations|branch_computations"
    r"|true_computation|false_computation)=(\{[^}]*\}|%?[\w.\-]+)"
)


def _names(text: str) -> list[str]:
    return re.findall(r"[\w.\-]+", text)


def count_operations(text: str) -> dict[str, int]:
    """What an optimised program is made of, from its text.

    Args:
      text: `compiled.as_text()`.

    Returns:
      'kernels' (fusions), 'library calls', 'loops', 'scatters', 'sorts', 'collectives' and, of
      these, 'all-reduces in loops': those in what a loop's body calls, counted once per program.
    """
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name = header.group(1)
        elif name:
            lines.setdefault(name, []).append(line)

    def called(lines):
        return [n for line in lines for group in _CALLED.findall(line) for n in _names(group)]

    # a '-done' belongs to the '-start' that was counted
    collective = re.compile(rf" (?:{_COLLECTIVES})(?:-start)?\(")
    reduction = re.compile(r" all-reduce(?:-start)?\(")
    bodies = re.findall(r" while\(.*body=%?([\w.\-]+)", text)
    waiting, inside = list(bodies), set()
    while waiting:
        name = waiting.pop()
        if name not in inside:
            inside.add(name)
            waiting += called(lines.get(name, []))
    looped = [line for name in inside for line in lines.get(name, [])]
    return {
        "kernels": text.count(" fusion("),
        "library calls": text.count(" custom-call("),
        "loops": len(bodies),
        "scatters": text.count(" scatter("),
        "sorts": text.count(" sort("),
        "collectives": len(collective.findall(text)),
        "all-reduces in loops": sum(bool(reduction.search(line)) for line in looped),
    }


def _width(kind: str) -> int:
    """Bytes of a number of a type such as 'f32', 'ui8', 'bf16', 'pred'."""
    bits = re.search(r"(8|16|32|64)$", kind)
    return _BYTES.get(kind) or _BYTES[bits[0] if bits else "64"]


def reduced_bytes(text: str) -> int:
    """Bytes of everything that the all-reduces of an optimised program (HLO) add up."""
    total = 0
    for line in text.splitlines():
        found = re.search(r"= (.*?) all-reduce(?:-start)?\(", line)
        for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", found[1]) if found else ():
            total += _width(kind) * math.prod(int(n) for n in shape.split(",") if n)
    return total


def largest_constant(text: str) -> int:
    """Bytes of the largest array constant of a lowered program (StableHLO); numbers that repeat do
    not count."""
    largest = 0
    pattern = r"dense<([^>]{0,3})[^>]*> : tensor<((?:\d+x)*)(\w+)>"
    for start, shape, kind in re.findall(pattern, text):
        if start[:1] in ('"', "["):
            sizes = [int(n) for n in shape.split("x") if n]
            largest = max(largest, _width(kind) * math.prod(sizes))
    return largest
