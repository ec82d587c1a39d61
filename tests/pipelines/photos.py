"""The command launch/reconstruct.py, and where the face lies in the photos of `conftest.folder`."""

import numpy as np

from facejax.commands.reconstruct import main

WALL = np.array([0.3, 0.5, 0.9], np.float32)
LEFT, TOP, SIDE = 40, 30, 336  # of the crop in the photo: 1.5 photo pixels per crop pixel


def command(*argv) -> int:
    return main([str(a) for a in argv])


def message(capsys, *argv) -> str:
    assert command(*argv) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    assert len(lines) == 1
    return lines[0]
