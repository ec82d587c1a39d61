"""What can be imported for this system: the networks of `facejax.pretrained.importer`."""

import os
from typing import Any

from facejax.pretrained.importer import PARTS, import_part

__all__ = ["PARTS", "closing_lines", "import_part"]


def closing_lines(meta: dict[str, Any], out: str | os.PathLike) -> list[str]:
    """What to say after `import_part`, of its metadata."""
    del out
    return [f"Input of the network: {meta['input']}"]
