"""Synthetic faces with their ground truth, as data sets: what `facejax make_dataset` does.

Face i depends only on (seed, i): any subset, any batch size, any number of devices or processes
gives the same files.
"""

from facejax.pipelines.dataset.draw import load_denoisers
from facejax.pipelines.dataset.options import SAMPLING, Options
from facejax.pipelines.dataset.packed import PackedFaces
from facejax.pipelines.dataset.write import CONTAINERS, FaceMaker, Summary, write_dataset

__all__ = [
    "CONTAINERS",
    "SAMPLING",
    "FaceMaker",
    "Options",
    "PackedFaces",
    "Summary",
    "load_denoisers",
    "write_dataset",
]
