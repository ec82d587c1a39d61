"""Data sets and how they are read: sources, the index sampler, prefetching, UV maps."""

from facejax.data.folders import open_dataset
from facejax.data.packed import PackedSource, pack_source, source_batches, write_packed
from facejax.data.prefetch import Prefetcher
from facejax.data.sampler import IndexSampler, process_slice
from facejax.data.source import Source
from facejax.data.synthetic_uv import MorphableUVSource
from facejax.data.uvmaps import UVCodec, masked_downsample2, pyramid

__all__ = [
    "IndexSampler",
    "MorphableUVSource",
    "PackedSource",
    "Prefetcher",
    "Source",
    "UVCodec",
    "masked_downsample2",
    "open_dataset",
    "pack_source",
    "process_slice",
    "pyramid",
    "source_batches",
    "write_packed",
]
