"""From the file of the head to a face model: refined, with albedo, in well under a second."""

import numpy as np

from facejax.morphable.makehuman.albedo import plain_albedo
from facejax.morphable.makehuman.file import LICENCE_PATH, NUM_ID, read_head
from facejax.morphable.makehuman.subdivision import Refinement, refine_flat, triangulate
from facejax.morphable.storage import pack_meta

MOUTH_PARTS = ("mouth", "upper_teeth", "lower_teeth", "tongue")
INSIDE_PARTS = (*MOUTH_PARTS, "eye", "lid", "lash")


def build_makehuman(subdivide: int = 1, num_id: int = NUM_ID, num_exp: int = 52) -> dict:
    """The arrays of a model file (`facejax.morphable.storage`) of the head.

    Args:
      subdivide: Catmull-Clark steps, 0 (4,826 vertices) or 1 (18,935 vertices).
      num_id: identity components, the largest first, at most 105.
      num_exp: expressions, in the order of their names.

    Raises:
      ValueError: sizes that the file does not hold.
    """
    head = read_head()
    limits = dict(subdivide=(0, 1), num_id=(1, len(head["identity"])))
    limits["num_exp"] = (0, len(head["exp_names"]))
    found = dict(subdivide=subdivide, num_id=num_id, num_exp=num_exp)
    for name, (low, high) in limits.items():
        if not low <= found[name] <= high:
            raise ValueError(
                f"found {name}={found[name]} for the model 'makehuman', wanted {low}..{high}"
            )
    quads, corners = head["quads"].astype(np.int64), head["quads_uv"].astype(np.int64)
    mean, identity = head["mean"], head["identity"][:num_id].astype(np.float32)
    expressions = _dense_expressions(head, num_exp)
    masks = {
        str(name): mask.astype(np.float32) / 255
        for name, mask in zip(head["mask_names"], head["masks"], strict=True)
    }
    part, uv, uv_vertex = head["part"].astype(np.int64), head["uv"], head["uv_vertex"]
    if subdivide:
        refinement = Refinement(quads, len(mean))
        layout = Refinement(corners, len(uv))
        mean, identity, expressions = (refinement(a) for a in (mean, identity, expressions))
        masks = {k: np.clip(refinement(m[:, None])[:, 0], 0, 1) for k, m in masks.items()}
        uv = refine_flat(uv, corners, layout.edges)
        quads, corners, part = refinement.quads, layout.quads, np.tile(part, 4)
        uv_vertex = np.zeros(len(uv), np.int64)
        uv_vertex[corners.ravel()] = quads.ravel()
    triangles, part_names = triangulate(quads), [str(n) for n in head["part_names"]]
    triangle_part = np.tile(part, 2).astype(np.int16)
    masks = _part_masks(triangles, triangle_part, part_names, len(mean)) | masks
    length = np.sqrt((identity.astype(np.float64) ** 2).sum(axis=(1, 2))).astype(np.float32)
    level = int(bool(subdivide))
    names = [str(name) for name in head["exp_names"][:num_exp]]
    return pack_meta(
        dict(
            mean_shape=mean,
            id_basis=identity / length[:, None, None],
            id_std=length,
            exp_basis=expressions,
            exp_std=np.ones(num_exp, np.float32),
            **plain_albedo(mean, masks, triangles, triangle_part, part_names),
            triangles=triangles,
            uv=np.clip(uv, 0, 1).astype(np.float32),
            uv_triangles=triangulate(corners),
            uv_vertex=uv_vertex.astype(np.int32),
            landmarks68=head["landmarks68"][level].astype(np.int32),
            landmarks5=head["landmarks5"][level].astype(np.int32),
            mask_names=np.array(list(masks)),
            masks=np.stack(list(masks.values())).astype(np.float32),
            exp_names=np.array(names, dtype=np.str_),
            part_names=np.array(part_names),
            triangle_part=triangle_part,
        ),
        name="makehuman",
        source=str(head["source"]),
        licence=LICENCE_PATH.read_text(encoding="utf-8"),
        uv_wraps_u=False,
    )


def _dense_expressions(head, num):
    """[num, V, 3] float32 mm."""
    out = np.zeros((num, len(head["mean"]), 3), np.float32)
    start = head["exp_start"]
    for k in range(num):
        rows = slice(start[k], start[k + 1])
        out[k, head["exp_vertex"][rows]] = head["exp_offset"][rows]
    return out


def _part_masks(triangles, triangle_part, part_names, num_vertices):
    """Masks [V] that follow from the parts; a vertex on the skin's border belongs to the skin."""

    def of(*names):
        inside = np.isin(triangle_part, [part_names.index(n) for n in names])
        mask = np.zeros(num_vertices, np.float32)
        mask[triangles[inside].ravel()] = 1
        return mask

    skin = of("skin")
    return dict(
        skin=skin,
        eye=of("eye"),
        mouth_inside=of(*MOUTH_PARTS) * (1 - skin),
        interior=of(*INSIDE_PARTS) * (1 - skin),
        hair=np.zeros(num_vertices, np.float32),  # the head is bald
    )
