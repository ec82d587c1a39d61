"""What makes a rendered face a photograph: scene, lamps, lens, sensor, things before the face.

Numbers are drawn on the host, by `draw_picture`, pure in the generator; pictures are made of them
on the device, by `take_picture`, traced. A `Look` says what the camera sees: a head alone, or
people with skin, hair and clothes.
"""

from facejax.data.photographs.lens import finish
from facejax.data.photographs.light import (
    diffuse_harmonics,
    draw_lights,
    random_light,
    stored_light,
)
from facejax.data.photographs.looks import HeadLook, Look, Surface
from facejax.data.photographs.occluders import occluders
from facejax.data.photographs.people import LOOKS, PeopleLook, choose_look
from facejax.data.photographs.picture import Picture, draw_picture, take_picture
from facejax.data.photographs.ranges import PictureRanges
from facejax.data.photographs.scenes import SCENES, draw_scene, scene

__all__ = [
    "LOOKS",
    "SCENES",
    "HeadLook",
    "Look",
    "PeopleLook",
    "Picture",
    "PictureRanges",
    "Surface",
    "choose_look",
    "diffuse_harmonics",
    "draw_lights",
    "draw_picture",
    "draw_scene",
    "finish",
    "occluders",
    "random_light",
    "scene",
    "stored_light",
    "take_picture",
]
