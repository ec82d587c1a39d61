"""One folder per system. Folders `facejax/systems` elsewhere on the path add theirs."""

import pathlib
import sys

__path__ += [
    str(folder)
    for folder in (pathlib.Path(place, "facejax", "systems") for place in sys.path)
    if folder.is_dir()
    and str(folder.resolve()) not in {str(pathlib.Path(p).resolve()) for p in __path__}
]
