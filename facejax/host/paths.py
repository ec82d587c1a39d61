"""Texts of the form PATH[:NAME], on systems where paths hold colons too."""

import os
import re
from collections.abc import Callable

_NAME = re.compile(r"[^/\\:]+")  # what may follow the colon


def split_name(text: str, exists: Callable[[str], bool] = os.path.exists) -> tuple[str, str]:
    """(path, name) of 'PATH[:NAME]'; name is '' where there is none.

    A colon is part of the path wherever that path exists: of all places where the text could be
    cut, the one with the longest path that exists counts, the whole text first. Where none exists,
    the last colon counts, unless what follows it is no name (it holds a separator: `C:\\runs\\a`)
    or what precedes it is the letter of a drive.

    Args:
      text: from a flag or a configuration.
      exists: whether a path is there.
    """
    cuts = [i for i, letter in enumerate(text) if letter == ":"]
    candidates = [(text, ""), *((text[:i], text[i + 1 :]) for i in reversed(cuts))]
    for path, name in candidates:
        if path and exists(path) and (not name.strip() or _NAME.fullmatch(name)):
            return path, name.strip()
    head, colon, tail = text.rpartition(":")
    is_drive = len(head) == 1 and head.isalpha() and os.name == "nt"
    if colon and head and not is_drive and (not tail.strip() or _NAME.fullmatch(tail)):
        return head, tail.strip()
    return text, ""
