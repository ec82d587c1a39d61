"""Hair, beards, glasses, hats, earrings and clothes: meshes that follow a head."""

from facejax.attachments.beards import BEARD_NAMES
from facejax.attachments.clothes import CLOTHES_NAMES
from facejax.attachments.earrings import EARRING_NAMES
from facejax.attachments.glasses import GLASSES_NAMES
from facejax.attachments.hairstyles import HAIR_NAMES
from facejax.attachments.hats import HAT_NAMES
from facejax.attachments.priors import sample_hair, sample_worn
from facejax.attachments.storage import load_wardrobe
from facejax.attachments.wardrobe import (
    MATERIALS,
    Wardrobe,
    attach,
    build_wardrobe,
    material_ids,
)
from facejax.attachments.worn import Worn, make_worn

__all__ = [
    "BEARD_NAMES",
    "CLOTHES_NAMES",
    "EARRING_NAMES",
    "GLASSES_NAMES",
    "HAIR_NAMES",
    "HAT_NAMES",
    "MATERIALS",
    "Wardrobe",
    "Worn",
    "attach",
    "build_wardrobe",
    "load_wardrobe",
    "make_worn",
    "material_ids",
    "sample_hair",
    "sample_worn",
]
