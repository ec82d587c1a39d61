"""ICT-FaceKit as a face model: `load_morphable('ict', path=...)`."""

from facejax.morphable.ict.build import VERSION, build_ict
from facejax.morphable.ict.files import (
    RAW_KEYS,
    REGIONS,
    Region,
    find_obj_folder,
    read_obj_folder,
    read_raw,
)

__all__ = [
    "RAW_KEYS",
    "REGIONS",
    "VERSION",
    "Region",
    "build_ict",
    "find_obj_folder",
    "read_obj_folder",
    "read_raw",
]
