"""Commands as text that can be pasted into a terminal."""

import os
import shlex
import subprocess


def command_line(*words: str | os.PathLike) -> str:
    """A command as the shell of this system reads it: words with blanks or quotes are quoted.

    Args:
      *words: the program and its arguments; `--flag=value` is one word.
    """
    texts = [os.fspath(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)
