"""Words of errors that users see."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A wrong flag, preset, key or value."""


def nearest(word: str, words: Iterable[str]) -> str:
    """The question whether the most similar word was meant; nothing where none is similar."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
