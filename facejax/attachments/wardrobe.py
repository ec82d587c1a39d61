"""Everything that a head can wear, bound to one face model, and the mesh of what it wears.

    wardrobe = load_wardrobe(model)                  # host, cached per model
    worn = sample_worn(rng, people...)               # or make_worn(hair=3, glasses=1)
    mesh = attach(wardrobe, vertices, worn)          # pure, jitted, any batch
    scene, part = concatenate_meshes([head, mesh])

All styles of a kind have the same number of vertices and triangles, and a style is a row of a
table: one compiled program makes any mixture of them. What is not worn is drawn together to a
point inside the head, so that it has no area.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facejax.attachments import colors
from facejax.attachments.beards import BEARD_NODES, BEARD_ROWS, BEARDS, make_beard
from facejax.attachments.binding import (
    NECK,
    SKULL,
    Binding,
    Frames,
    bind,
    keep_outside,
    make_frames,
    place,
)
from facejax.attachments.clothes import CLOTHES, CLOTHES_GRID, WIDEST, bust_cloud, make_clothes
from facejax.attachments.earrings import EARRING_GRID, EARRING_NAMES, make_earrings
from facejax.attachments.glasses import GLASSES, glasses_mesh, make_glasses
from facejax.attachments.hairstyles import PARTINGS, STYLES, make_cut
from facejax.attachments.hats import HAT_GRID, HATS, make_hat, rim_height
from facejax.attachments.head import Cloud, HeadSurface, smoothstep
from facejax.attachments.shapes import grid_triangles, grid_uv
from facejax.attachments.strands import NODES, ROWS, Strands
from facejax.attachments.worn import Worn
from facejax.geometry.math import safe_normalize
from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.morphable.model import MorphableModel

MATERIALS = ("hair", "beard", "frame", "lens", "hat", "metal", "cloth")
BLOCKS = ("hair", "cap", "beard", "glasses", "hat", "earrings", "clothes")
_CAP_ROWS, _CAP_COLUMNS = 16, 37
_TEXELS_ACROSS = 11  # of the hair texture, across a ribbon
_LEAST_MM = 0.6  # above the skin
_HIDDEN_MM = -1.6  # the shell where no hair grows
_HAT_HAIR_MM = 2.0  # thickness of hair under a hat


@struct.dataclass
class StrandTables:
    """Strands of several cuts, bound to the head; G cuts of N nodes.

    Attributes:
      ids: [G, N] int32 head vertices that the nodes follow; offset: [G, N, 3] mm.
      side: [G, N, 3] across the ribbon, times its own width; out: [G, N, 3] unit, away from it.
      guard: [G, N] int32 vertices that nodes may not sink below.
      order: [G, N] `HeadSurface.recession` of the root of each node's strand.
      rim: [G, N, 4] mm over the rims of the hats.
    """

    ids: np.ndarray
    offset: np.ndarray
    side: np.ndarray
    out: np.ndarray
    guard: np.ndarray
    order: np.ndarray
    rim: np.ndarray


@struct.dataclass
class Wardrobe:
    """See the module; tables over styles, the same shapes for every face model but for V.

    Attributes:
      frames: affine maps of skull and neck.
      normals: [V, 3] of the mean head.
      hair: cuts; cut_of: [styles, 3 partings, 2 fringes] int32 rows of `hair`.
      hair_numbers: [styles, 7] nodes, half width, curl, cycles, volume, cap, bare (mm).
      cap: the shell under the hair; cap_height: [styles, N], cap_edge: [N] mm inside the hairline,
        cap_order: [N] recession, cap_rim: [N, hats].
      beard: styles; beard_numbers: [styles, 2] half width, curl (mm).
      glasses, hats, earrings, clothes: `Binding`s over styles.
    """

    frames: Frames
    normals: np.ndarray
    hair: StrandTables
    cut_of: np.ndarray
    hair_numbers: np.ndarray
    cap: Binding
    cap_height: np.ndarray
    cap_edge: np.ndarray
    cap_order: np.ndarray
    cap_rim: np.ndarray
    beard: StrandTables
    beard_numbers: np.ndarray
    glasses: Binding
    hats: Binding
    earrings: Binding
    clothes: Binding


@functools.cache
def topology() -> tuple[MeshTopology, np.ndarray, np.ndarray]:
    """Of every mesh of attachments, whatever face model it is for.

    Returns:
      (topology, [F] int32 material numbers, [N] int32 block of each vertex: position in `BLOCKS`).
    """
    rng = np.random.default_rng(5)
    triangles, uv_triangles, uvs, materials, blocks, first = [], [], [], [], [], 0

    def add(block, tile, tri, uv_tri, uv, material):
        nonlocal first
        triangles.append(tri + first)
        uv_triangles.append(uv_tri + first)
        uvs.append(uv if tile is None else colors.tile_uv(tile, uv))
        blocks.append(np.full(len(uv), BLOCKS.index(block)))
        materials.append(np.broadcast_to(material, len(tri)))
        first += len(uv)

    def add_grid(block, tile, shape, material, **closing):
        tri, uv_tri = grid_triangles(*shape, closed=True, **closing), grid_triangles(*shape)
        add(block, tile, tri, uv_tri, grid_uv(*shape), material)

    def add_strips(block, rows, material):
        strip = grid_triangles(NODES, 2)
        tri = (strip[None] + 2 * NODES * np.arange(rows)[:, None, None]).reshape(-1, 3)
        window = _TEXELS_ACROSS / colors.TILES[block][1]
        u = rng.uniform(0, 1 - window, (rows, 1, 1)) + np.array([0, window])
        v = np.linspace(0, 1, NODES)[None, :, None]
        uv = np.stack(np.broadcast_arrays(u, v), axis=-1).reshape(-1, 2)
        add(block, block, tri, tri, uv, material)

    add_strips("hair", ROWS, 0)
    add_grid("cap", "cap", (_CAP_ROWS, _CAP_COLUMNS), 0, pole=True)
    add_strips("beard", BEARD_ROWS, 1)
    tri, uv_tri, uv, lens = glasses_mesh()
    uv = np.where(lens[:, None], colors.tile_uv("lens", uv), colors.tile_uv("frame", uv))
    add("glasses", None, tri, uv_tri, uv, np.where(lens[uv_tri[:, 1]], 3, 2))
    add_grid("hat", "hat", HAT_GRID, 4, pole=True)
    add_grid("earrings", "metal", EARRING_GRID, 5, torus=True)
    add_grid("earrings", "metal", EARRING_GRID, 5, torus=True)
    add_grid("clothes", "clothes", CLOTHES_GRID, 6)
    mesh = MeshTopology(
        np.concatenate(triangles), first, np.concatenate(uvs), np.concatenate(uv_triangles)
    )
    return mesh, np.concatenate(materials).astype(np.int32), np.concatenate(blocks).astype(np.int32)


def material_ids() -> np.ndarray:
    """[F] int32, which of `MATERIALS` each triangle of the mesh of `attach` is made of."""
    return topology()[1]


# building, on the host


def build_wardrobe(model: MorphableModel) -> Wardrobe:
    """`Wardrobe` of a face model with 68 landmarks; numpy arrays, some seconds.

    Raises:
      ValueError: the model has no outer surface or no ears.
    """
    head = HeadSurface(model)
    garments = [make_clothes(head, k) for k in range(len(CLOTHES))]
    bust = bust_cloud(garments[WIDEST])
    body = Cloud(
        np.concatenate([head.draped.points, bust.points]),
        np.concatenate([head.draped.normals, bust.normals]),
    )
    cuts, cut_of = [], np.zeros((len(STYLES), len(PARTINGS), 2), np.int32)
    for number, style in enumerate(STYLES):
        made = {}
        for p, part in enumerate(PARTINGS):
            for fringe in (0, 1):
                key = (part * style.parted, fringe * style.fringed)
                if key not in made:
                    made[key] = len(cuts)
                    strands = make_cut(head, body, number, key[0], bool(key[1]))
                    cuts.append(_strand_rows(head, strands, ROWS, False))
                cut_of[number, p, fringe] = made[key]
    cap, cap_points = _make_cap(head)
    lips = model.topology.masks.get("lips")
    beards = [
        _strand_rows(head, make_beard(head, lips, k), BEARD_ROWS, True) for k in range(len(BEARDS))
    ]
    rings = [make_earrings(head, k) for k in range(len(EARRING_NAMES))]
    return Wardrobe(
        frames=make_frames(head),
        normals=head.normals.astype(np.float32),
        hair=_stack(cuts),
        cut_of=cut_of,
        hair_numbers=np.array(
            [
                [
                    s.nodes,
                    *(head.unit * np.array([s.half_width, s.curl])),
                    s.cycles,
                    *(head.unit * np.array([s.volume, s.cap])),
                    s.bare,
                ]
                for s in STYLES
            ],
            np.float32,
        ),  # fmt: skip
        cap=cap,
        cap_height=np.stack([_cap_height(head, cap_points, s) for s in STYLES]),
        cap_edge=head.above_hairline(cap_points).astype(np.float32),
        cap_order=head.recession(cap_points).astype(np.float32),
        cap_rim=_rims(head, cap_points),
        beard=_stack(beards),
        beard_numbers=np.array(
            [[head.unit * b.half_width, head.unit * b.curl] for b in BEARDS], np.float32
        ),
        glasses=_stack([make_glasses(head, k)[1] for k in range(len(GLASSES))]),
        hats=_stack([bind(head, make_hat(head, k)) for k in range(len(HATS))]),
        earrings=_stack([bind(head, p, ids) for p, ids in rings]),
        clothes=_stack([_bind_clothes(head, p) for p in garments]),
    )


def _stack(items):
    return jax.tree.map(lambda *a: np.stack(a), *items)


def _rims(head, points):
    return np.stack([rim_height(head, hat, points) for hat in HATS], axis=-1).astype(np.float32)


def _strand_rows(head: HeadSurface, strands: Strands | None, rows: int, at_root: bool):
    """One row of `StrandTables`; None becomes strands without a length."""
    num = rows * NODES
    if strands is None:
        m = NODES
        nodes = np.broadcast_to(head.points[head.still_ids[0]], (rows, m, 3))
        strands = Strands(nodes, np.zeros_like(nodes), np.zeros_like(nodes))
    m = strands.nodes.shape[1]
    nodes = strands.nodes.reshape(num, 3)
    roots = strands.nodes[:, 0]
    if at_root:  # a beard moves with the skin that it grows on
        ids = np.repeat(head.nearest(roots), m)
    else:
        ids = head.nearest_still(nodes)
    own = np.random.default_rng(3).uniform(0.7, 1.25, (len(roots), 1, 1))
    return StrandTables(
        ids=ids.astype(np.int32),
        offset=(nodes - head.points[ids]).astype(np.float32),
        side=(strands.side * own).reshape(num, 3).astype(np.float32),
        out=strands.out.reshape(num, 3).astype(np.float32),
        guard=head.nearest(nodes).astype(np.int32),
        order=np.repeat(head.recession(roots), m).astype(np.float32),
        rim=_rims(head, nodes),
    )


def _make_cap(head: HeadSurface) -> tuple[Binding, np.ndarray]:
    """The shell on the scalp: meridians from the top down to just below the hairline."""
    azimuth = np.linspace(-np.pi, np.pi, _CAP_COLUMNS)
    flat = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], axis=1)

    def at(polar):
        rays = np.sin(polar)[..., None] * flat + np.cos(polar)[..., None] * [0, 1.0, 0]
        return head.rays(rays.reshape(-1, 3)).reshape(rays.shape)

    polar = np.radians(np.linspace(20, 165, 146))
    outside = head.above_hairline(at(np.repeat(polar[:, None], _CAP_COLUMNS, 1))) < -6 * head.unit
    last = polar[outside.argmax(axis=0)]
    points = at(last * np.linspace(0, 1, _CAP_ROWS)[:, None]).reshape(-1, 3)
    ids = head.nearest(points)
    points = (
        points
        - (((points - head.points[ids]) * head.normals[ids]).sum(1))[:, None] * head.normals[ids]
    )
    return bind(head, points, ids[:, None]), points


def _cap_height(head, points, style):
    """[N] mm of the shell's height where hair grows."""
    u = head.unit
    rng = np.random.default_rng(13)
    bumps = style.cap_bump * rng.normal(size=(_CAP_ROWS, _CAP_COLUMNS))
    bumps[:, -1] = bumps[:, 0]
    bumps[0] = bumps[0, 0]
    ramp = np.sqrt(smoothstep(head.above_hairline(points), -2 * u, style.cap_ramp * u))
    on_top = smoothstep(points[:, 1] - head.brow_y, 20 * u, 60 * u)
    ramp = ramp * (style.cap_side + (1 - style.cap_side) * on_top)
    return (u * np.maximum(0.8, ramp * (style.cap + bumps.reshape(-1)))).astype(np.float32)


def _bind_clothes(head, points):
    """The collar follows the skin of the neck, the shoulders the neck as a whole."""
    rows, columns = CLOTHES_GRID
    near = head.nearest(points)
    grid = near.reshape(rows, columns)
    four = grid[1, [0, columns // 4, columns // 2, 3 * columns // 4]]
    whole = np.repeat(smoothstep(np.arange(rows), 3.0, 8.0), columns)[:, None]
    ids = np.concatenate([near[:, None], np.broadcast_to(four, (len(points), 4))], axis=1)
    weights = np.concatenate([1 - whole, np.repeat(whole / 4, 4, axis=1)], axis=1)
    return bind(head, points, ids, weights, NECK)


# wearing, on the device


def attach(wardrobe: Wardrobe, vertices: jax.Array, worn: Worn) -> Mesh:
    """The mesh of what heads wear; pure and differentiable in vertices and continuous coefficients.

    Args:
      wardrobe: of the vertices' face model.
      vertices: [..., V, 3] mm.
      worn: batch dims [...]; both broadcast.

    Returns:
      Mesh with vertices [..., N, 3], texture [..., 64, 268, 3] and the topology of `topology()`.
    """
    vertices = jnp.asarray(vertices, jnp.float32)
    batch = jnp.broadcast_shapes(vertices.shape[:-2], worn.hair.shape)
    flat = jnp.broadcast_to(vertices, (*batch, *vertices.shape[-2:]))
    flat = flat.reshape(-1, *vertices.shape[-2:])

    def rows(a):
        own = a.shape[worn.hair.ndim :]
        return jnp.broadcast_to(jnp.asarray(a), (*batch, *own)).reshape(-1, *own)

    points, texture = _attach(wardrobe, flat, jax.tree.map(rows, worn))
    return Mesh(
        points.reshape(*batch, *points.shape[1:]),
        topology()[0],
        texture=texture.reshape(*batch, *texture.shape[1:]),
    )


@jax.jit
def _attach(wardrobe, vertices, worn):
    return jax.vmap(lambda v, w: _attach_one(wardrobe, v, w))(vertices, worn)


def _attach_one(wardrobe, vertices, worn):
    maps = wardrobe.frames(vertices)
    inside = vertices[wardrobe.frames.ids[SKULL]].mean(axis=0)
    normals = safe_normalize(wardrobe.normals @ maps[SKULL].T)
    head = (vertices, normals, maps)
    numbers = wardrobe.hair_numbers[worn.hair]
    parts = [
        _hair(wardrobe, head, worn, numbers),
        _cap(wardrobe, head, worn, numbers, inside),
        _beard(wardrobe, head, worn),
    ]
    *_, lens = glasses_mesh()
    for name, table in (
        ("glasses", wardrobe.glasses), ("hat", wardrobe.hats),
        ("earrings", wardrobe.earrings), ("clothes", wardrobe.clothes),
    ):  # fmt: skip
        number = getattr(worn, name)
        binding = jax.tree.map(lambda a, n=number: jnp.asarray(a)[n], table)
        points = place(binding, vertices, maps)
        if name != "earrings":
            points = keep_outside(points, vertices, normals, binding.guard, _LEAST_MM, 9.0)
        shown = jnp.full(len(points), number > 0)
        if name == "glasses":
            shown = shown & (~lens | (worn.tint >= 0.5))
        parts.append(jnp.where(shown[:, None], points, inside))
    texture = colors.paint(worn, numbers[0], jnp.where(numbers[5] < 1.5, 0.2, 0.0))
    return jnp.concatenate(parts), texture


def _strands(table, head, nodes, length, width, curl, cycles, lift, flatten):
    """[2 N, 3] vertices of ribbons.

    Args:
      table: `StrandTables` of one head: no leading dim.
      head: (vertices, normals, maps).
      nodes: [] of a strand.
      length: [N] share of each strand that is there.
      width: [] mm, half of a ribbon's; curl: [] mm; cycles: [] turns along a strand; lift: [] mm.
      flatten: [N] in [0, 1], how far nodes are pressed to the head (under hats).
    """
    vertices, normals, maps = head
    num = table["points"].shape[0]
    number = jnp.arange(num) % NODES
    m = nodes.astype(jnp.int32)
    own = number % m
    first = jnp.arange(num) - own
    t = own / (nodes - 1)
    at = t * length * (nodes - 1)
    low = jnp.minimum(jnp.floor(at).astype(jnp.int32), m - 2)
    share = (at - low)[:, None]

    def along(values):
        a, b = values[first + low], values[first + low + 1]
        return a + share * (b - a)

    points, side, out = (along(table[k]) for k in ("points", "side", "out"))
    phase = np.random.default_rng(17).uniform(0, 2 * np.pi, num).astype(np.float32)
    angle = jnp.asarray(phase)[first] + 2 * np.pi * cycles * at / (nodes - 1)
    ease = (jnp.clip(at / (nodes - 1) / 0.3, 0, 1) * length)[:, None]
    swing = jnp.cos(angle)[:, None] * side + 0.7 * jnp.sin(angle)[:, None] * out
    points = points + ease * (curl * swing + lift * out)
    guard = table["guard"][first + jnp.round(at).astype(jnp.int32)]
    pressed = vertices[guard] + _HAT_HAIR_MM * normals[guard]
    points = points + flatten[:, None] * (pressed - points)
    profile = jnp.minimum(1.0, t / 0.15) * (1 - jnp.clip((t - 0.6) / 0.4, 0, 1) ** 1.5)
    profile = jnp.where(own == m - 1, 0.0, profile) * jnp.clip(length * 4, 0, 1)
    across = (width * profile * (1 - 0.8 * flatten))[:, None] * side
    edges = jnp.stack([points - across, points + across], axis=1).reshape(-1, 3)
    return keep_outside(edges, vertices, normals, jnp.repeat(guard, 2), _LEAST_MM)


def _row(table, number, head):
    """A cut as points and directions on this head."""
    vertices, _, maps = head
    m = maps[SKULL].T
    row = jax.tree.map(lambda a: jnp.asarray(a)[number], table)
    return dict(
        points=vertices[row.ids] + row.offset @ m,
        side=row.side @ m,
        out=row.out @ m,
        guard=row.guard,
        order=row.order,
        rim=row.rim,
    )


def _kept(order, receding):
    """Share of the hair that is still there where it is lost in this order."""
    return jnp.clip((order - receding) / 0.06 + 0.5, 0.0, 1.0)


def _hair(wardrobe, head, worn, numbers):
    """Ribbons of the hairstyle: its cuts blended, then cut, curled and lifted."""
    nodes, width, curl, cycles, volume, _, bare = numbers
    at = jnp.clip(worn.parting + 1.0, 0.0, 2.0)
    low = jnp.minimum(jnp.floor(at).astype(jnp.int32), 1)
    part = at - low
    cut_of = jnp.asarray(wardrobe.cut_of)[worn.hair]
    rows = [_row(wardrobe.hair, cut_of[low + k // 2, k % 2], head) for k in range(4)]
    # one strand after the other joins the fringe: halfway between the two none looks combed
    num = rows[0]["order"].shape[0]
    strand = jnp.arange(num) // nodes.astype(jnp.int32)
    turns = np.random.default_rng(19).uniform(0.25, 0.75, num).astype(np.float32)
    combed_forward = worn.fringe * jnp.clip(1.5 - worn.receding / 0.1, 0.0, 1.0)
    fringe = jnp.clip((combed_forward - jnp.asarray(turns)[strand]) / 0.03 + 0.5, 0.0, 1.0)
    fringe = fringe[:, None]
    shares = [(1 - part) * (1 - fringe), (1 - part) * fringe, part * (1 - fringe), part * fringe]
    table = {
        k: sum(s * row[k] for s, row in zip(shares, rows, strict=True))
        for k in ("points", "side", "out")
    }
    best = jnp.argmax(jnp.concatenate(shares, axis=1), axis=1)
    kept = _kept(rows[0]["order"], jnp.maximum(bare, worn.receding))

    def nearest_cut(name):
        values = jnp.stack([row[name] for row in rows])
        return values[best, jnp.arange(num)]

    table["guard"] = nearest_cut("guard")
    rim = nearest_cut("rim")[:, worn.hat]
    flatten = jnp.where(worn.hat > 0, jnp.clip((rim + 20.0) / 14.0, 0.0, 1.0), 0.0)
    curl = curl + 7.0 * worn.curl
    cycles = jnp.maximum(cycles, jnp.where(worn.curl > 0, 0.25 * nodes, 0.0))
    length = jnp.clip(worn.length, 0.05, 1.0) * kept
    lift = volume * worn.volume
    return _strands(table, head, nodes, length, width, curl, cycles, lift, flatten)


def _cap(wardrobe, head, worn, numbers, inside):
    """The shell under the strands, sunk below the skin where no hair grows."""
    vertices, normals, maps = head
    foot = place(wardrobe.cap, vertices, maps)
    receding = jnp.maximum(numbers[6], worn.receding)
    edge = jnp.clip((wardrobe.cap_edge + 2.5) / 5.0, 0.0, 1.0)
    grown = edge * jnp.clip((wardrobe.cap_order - receding) / 0.08 + 0.5, 0.0, 1.0)
    height = jnp.asarray(wardrobe.cap_height)[worn.hair]
    height = height * jnp.clip(1 + 0.4 * worn.volume, 0.3, 2.0)
    rim = jnp.asarray(wardrobe.cap_rim)[:, worn.hat]
    covered = (worn.hat > 0) & (rim > -4.0)
    height = jnp.where(covered, jnp.minimum(height, _HAT_HAIR_MM), height)
    height = _HIDDEN_MM + grown * (height - _HIDDEN_MM)
    shell = foot + height[:, None] * normals[wardrobe.cap.guard]
    return jnp.where(worn.hair > 0, shell, inside)


def _beard(wardrobe, head, worn):
    width, curl = jnp.asarray(wardrobe.beard_numbers)[worn.beard]
    table = _row(wardrobe.beard, worn.beard, head)
    num = table["points"].shape[0]
    length = jnp.full(num, jnp.clip(worn.beard_length, 0.05, 1.0))
    nodes = jnp.where(worn.beard > 0, BEARD_NODES, NODES)
    curl = curl + 1.2 * worn.curl
    return _strands(table, head, nodes, length, width, curl, 1.0, 0.0, jnp.zeros(num))
