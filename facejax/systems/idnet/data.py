"""Photos of synthetic people: those of the training set, and others that it never shows."""

from facejax.data.plain_photos import photo_source
from facejax.data.synthetic_photos import HELD_OUT, PhotoSource
from facejax.morphable import MorphableModel


def photos(
    config, model: MorphableModel, num_examples: int, num_identities: int, seed: int
) -> PhotoSource:
    """Photos as `config.data` says (image_size, ranges).

    Args:
      config: of the run.
      model: the face model.
      num_examples: photos; example i shows person i % num_identities.
      num_identities: people.
      seed: other seeds are other people.
    """
    c = config.data
    return photo_source(
        c.get("look", "plain"), model, c.image_size, num_examples, seed,
        num_identities=num_identities, ranges=c.ranges,
    )  # fmt: skip


def make_source(config, model: MorphableModel) -> PhotoSource:
    """The training examples."""
    c = config.data
    return photos(config, model, c.num_examples, c.num_identities, config.seed)


def held_out(config, model: MorphableModel, num_identities: int, photos_each: int) -> PhotoSource:
    """Photos of people that training does not see; example i shows person i % num_identities."""
    number = num_identities * photos_each
    return photos(config, model, number, num_identities, config.seed + HELD_OUT)
