"""What can be imported for this system: the networks of `facejax.pretrained.importer`."""

from facejax.pretrained.importer import PARTS, import_part

__all__ = ["PARTS", "import_part"]
