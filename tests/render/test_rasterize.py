import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.render import platform
from facejax.render.interpolate import interpolate
from facejax.render.rasterize import Fragments, _rasterize, rasterize
from tests.benchmarks.bench_render import milliseconds, numpy_zbuffer
from tests.oracles import meshes
from tests.oracles import rasterizer as oracle
from tests.oracles.lowering import accelerator_programs

SIZE = (24, 32)
NUM = 40
SOUPS = {
    "small": dict(size=0.1),
    "mid": dict(size=0.4),
    "huge": dict(size=20.0),
    "crossing": dict(size=0.6, w_range=(-0.7, 2.0)),
}


def ids_of(fragments: Fragments) -> np.ndarray:
    return np.asarray(fragments.triangle_id)


def assert_matches_oracle(clip, topology, fragments):
    ids, bary, depth, ambiguous = oracle.rasterize(clip, topology.triangles, *SIZE)
    got = ids_of(fragments)
    assert ((got != ids) & ~ambiguous).sum() == 0
    sure = (got == ids) & ~ambiguous
    assert sure.sum() > 0.6 * sure.size
    np.testing.assert_allclose(np.asarray(fragments.barycentric)[sure], bary[sure], atol=5e-3)
    np.testing.assert_allclose(np.asarray(fragments.depth)[sure], depth[sure], atol=1e-4)


@pytest.mark.parametrize("kind", SOUPS)
def test_random_triangles_agree_with_float64(rng, kind):
    clip, topology = meshes.soup(rng, NUM, **SOUPS[kind])
    fragments = rasterize(clip, topology, SIZE)
    assert (ids_of(fragments) >= 0).any()
    assert_matches_oracle(clip, topology, fragments)


def test_slivers_agree_with_float64(rng):
    clip, topology = meshes.soup(rng, NUM, 0.8)
    corners = clip.reshape(-1, 3, 4)
    corners[:, 2] = 0.5 * (corners[:, 0] + corners[:, 1]) + rng.normal(size=(NUM, 4)) * 0.02
    assert_matches_oracle(clip, topology, rasterize(clip, topology, SIZE))


def test_accelerator_path_is_identical(rng):
    clip, topology = meshes.soup(rng, NUM, 0.4)
    want = rasterize(clip, topology, SIZE)
    with platform.lower_for("gpu"):
        got = rasterize(np.stack([clip, clip[::-1]]), topology, SIZE)
    np.testing.assert_array_equal(got.triangle_id[0], want.triangle_id)
    np.testing.assert_allclose(got.barycentric[0], want.barycentric, atol=1e-5)


@pytest.mark.parametrize("what", ["lattice", "jittered", "seams", "fan"])
def test_watertight(rng, what):
    size = (16, 16)
    if what == "fan":
        angle = np.linspace(0, 2 * np.pi, 65)[:-1]
        xy = np.concatenate([[[1 / 16, 1 / 16]], 2 * np.stack([np.cos(angle), np.sin(angle)], 1)])
        ring = np.arange(64)
        triangles = np.stack([0 * ring, 1 + ring, 1 + (ring + 1) % 64], axis=1)
    else:
        xy, triangles = meshes.grid(17, 17)
        xy = xy * 17 / 16 + 1 / 16  # vertices and edges fall exactly on pixel centres
        if what != "lattice":
            inner = (np.abs(xy) < 1).all(axis=1)
            xy[inner] += rng.uniform(-0.04, 0.04, (inner.sum(), 2))
        if what == "seams":  # no two triangles share an index
            xy, triangles = xy[triangles].reshape(-1, 2), np.arange(triangles.size).reshape(-1, 3)
    clip = np.concatenate([xy, 0 * xy[:, :1], 0 * xy[:, :1] + 1], axis=1).astype(np.float32)
    ids = ids_of(rasterize(clip, MeshTopology(triangles, len(xy)), size))
    assert (ids >= 0).all()


def test_equal_depth_goes_to_the_larger_index_and_nearer_wins_in_any_order(rng):
    xyz = np.array([[-1, -1, 0.1], [1, -1, 0.1], [0, 1, 0.1]], np.float32)
    clip = np.concatenate([xyz, np.ones((3, 1))], axis=1).astype(np.float32)
    twice = MeshTopology([[0, 1, 2], [0, 1, 2]], 3)
    ids = ids_of(rasterize(clip, twice, (8, 8)))
    assert set(np.unique(ids)) == {-1, 1}
    clip, topology = meshes.soup(rng, NUM, 0.4)
    order = rng.permutation(NUM)
    want = ids_of(rasterize(clip, topology, SIZE))
    mixed = ids_of(rasterize(clip, MeshTopology(topology.triangles[order], len(clip)), SIZE))
    np.testing.assert_array_equal(np.where(mixed >= 0, order[mixed], -1), want)


def test_degenerate_input_is_finite_and_has_finite_gradients():
    clip = np.array(
        [
            [0, 0, 0, 1], [0.5, 0, 0, 1], [0, 0.5, 0, 1], [0, 0, 0, -1], [1, 0, 0, -1],
            [0, 1, 0, -1], [np.nan, 0, 0, 1], [9, 9, 0, 1], [9, 8, 0, 1], [8, 9, 0, 1],
            [0, 0, 0, 0],
        ],
        np.float32,
    )  # fmt: skip
    triangles = [[0, 0, 1], [0, 1, 1], [2, 2, 2], [3, 4, 5], [6, 0, 1], [7, 8, 9], [10, 10, 10],
                 [0, 1, 2], [0, 1, 10]]  # fmt: skip
    topology = MeshTopology(triangles, len(clip))

    def total(clip):
        f = rasterize(clip, topology, (8, 8))
        return jnp.sum(f.barycentric**2) + jnp.sum(f.depth**2), f

    grad, fragments = jax.grad(total, has_aux=True)(jnp.asarray(clip))
    assert np.isfinite(fragments.barycentric).all() and np.isfinite(fragments.depth).all()
    assert np.isfinite(grad).all()
    assert set(np.unique(ids_of(fragments))) <= {-1, 7, 8}


def test_one_pixel_one_triangle_and_no_triangle():
    clip = np.array([[-3, -3, 0, 1], [3, -3, 0, 1], [0, 3, 0, 1]], np.float32)
    one = rasterize(clip, MeshTopology([[0, 1, 2]], 3), (1, 1))
    assert ids_of(one).tolist() == [[0]]
    none = rasterize(clip, MeshTopology(np.zeros((0, 3), np.int32), 3), (2, 3))
    assert (ids_of(none) == -1).all() and (np.asarray(none.depth) == 1).all()


@pytest.mark.parametrize("block", [(1, 1), (3, 3), (4, 4)])  # (2, 2) is what None picks here
def test_block_and_chunk_do_not_change_the_result(rng, block):
    clip, topology = meshes.soup(rng, 400, 2.0)  # many blocks per triangle: several chunks of 256
    want = ids_of(rasterize(clip, topology, SIZE, chunk=16384))
    np.testing.assert_array_equal(
        ids_of(rasterize(clip, topology, SIZE, block=block, chunk=256)), want
    )


def test_a_triangle_over_a_million_pixels_and_ten_thousand_huge_ones(rng):
    clip = np.array([[-4, -3, 0, 1], [4, -3, 0, 1], [0, 5, 0.5, 1]], np.float32)
    assert (ids_of(rasterize(clip, MeshTopology([[0, 1, 2]], 3), (1024, 1024))) == 0).all()
    clip, topology = meshes.soup(rng, 10_000, 4.0)
    depth = rng.permutation(np.linspace(-0.9, 0.9, 10_000)).astype(np.float32)
    clip[:, 2] = np.repeat(depth, 3) * clip[:, 3]  # one plane each: float32 can tell them apart
    want = oracle.rasterize(clip, topology.triangles, *SIZE)[0]
    assert (ids_of(rasterize(clip, topology, SIZE)) != want).sum() <= 2  # at an edge


@pytest.mark.parametrize("batch", [(3,), (2, 2)])
def test_batches_jit_and_vmap_agree_with_single_calls(rng, batch):
    clip, topology = meshes.soup(rng, NUM, 0.4)
    clips = np.stack([clip * np.float32(1 + 0.1 * i) for i in range(int(np.prod(batch)))])
    want = np.stack([ids_of(rasterize(c, topology, SIZE)) for c in clips]).reshape(*batch, *SIZE)
    clips = clips.reshape(*batch, *clip.shape)
    got = rasterize(clips, topology, SIZE)
    assert got.barycentric.shape == (*batch, *SIZE, 3) and got.depth.shape == (*batch, *SIZE)
    np.testing.assert_array_equal(got.triangle_id, want)
    if len(batch) == 1:
        mapped = jax.jit(jax.vmap(lambda c: rasterize(c, topology, SIZE).triangle_id))(clips)
        np.testing.assert_array_equal(mapped, want)


def test_barycentrics_reproduce_the_pixel_centre(rng):
    clip, topology = meshes.soup(rng, NUM, 0.4)
    fragments = rasterize(clip, topology, SIZE)
    hit = ids_of(fragments) >= 0
    np.testing.assert_allclose(np.asarray(fragments.barycentric).sum(-1), hit, atol=1e-5)
    got = np.asarray(interpolate(clip, topology, fragments))
    ndc = got[..., :3] / np.where(hit, got[..., 3], 1.0)[..., None]
    row, column = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    x, y = (column + 0.5) * 2 / SIZE[1] - 1, 1 - (row + 0.5) * 2 / SIZE[0]
    np.testing.assert_allclose(ndc[hit], np.stack([x, y, fragments.depth], -1)[hit], atol=2e-4)


def test_gradient_agrees_with_float64_differences_and_hidden_vertices_get_none(rng):
    clip, topology = meshes.soup(rng, NUM, 0.5)
    fragments = rasterize(clip, topology, SIZE)
    ids = ids_of(fragments)
    row, column = np.nonzero(ids >= 0)
    triangle = topology.triangles[ids[row, column]]
    wb, wz = rng.normal(size=(len(row), 3)), rng.normal(size=len(row))
    # Seen almost from the side, b changes by more than 1 per pixel: keep well-shaped triangles.
    corners = clip[triangle].astype(np.float64)
    xy = corners[..., :2] / corners[..., 3:]
    d1, d2 = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    good = np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]) > 0.05
    row, column, triangle, wb, wz = row[good], column[good], triangle[good], wb[good], wz[good]

    def slow(clip):
        b, z = oracle.barycentrics(clip, triangle, row, column, *SIZE)
        return (wb * b).sum() + (wz * z).sum()

    def fast(clip):
        f = rasterize(clip, topology, SIZE)
        return jnp.sum(wb * f.barycentric[row, column]) + jnp.sum(wz * f.depth[row, column])

    grad = np.asarray(jax.grad(fast)(jnp.asarray(clip)), np.float64)
    step = 1e-6
    for v in rng.choice(np.unique(triangle), 6, replace=False):
        for c in range(4):
            delta = np.zeros(clip.shape)
            delta[v, c] = step
            want = (slow(clip + delta) - slow(clip.astype(np.float64) - delta)) / (2 * step)
            assert grad[v, c] == pytest.approx(want, rel=2e-3, abs=2e-3)
    hidden = np.setdiff1d(np.arange(len(clip)), triangle)
    assert len(hidden) and (grad[hidden] == 0).all()


def test_row_zero_is_the_top_and_x_runs_right():
    clip = np.array([[0.1, 0.1, 0, 1], [0.9, 0.1, 0, 1], [0.9, 0.9, 0, 1]], np.float32)
    rows, columns = np.nonzero(ids_of(rasterize(clip, MeshTopology([[0, 1, 2]], 3), (16, 16))) >= 0)
    assert rows.max() < 8 and columns.min() >= 8


def test_culling_drops_one_winding(rng):
    clip = np.array(
        [[-1, -1, 0, 1], [0, -1, 0, 1], [-1, 1, 0, 1], [0, 1, 0, 1], [1, 1, 0, 1]], np.float32
    )
    topology = MeshTopology([[2, 0, 1], [1, 3, 4]], 5)  # counter-clockwise, clockwise
    seen = {c: set(np.unique(ids_of(rasterize(clip, topology, (8, 8), cull=c)))) for c in
            ("none", "back", "front")}  # fmt: skip
    assert seen == {"none": {-1, 0, 1}, "back": {-1, 0}, "front": {-1, 1}}
    crossing, topology = meshes.soup(rng, NUM, 0.6, w_range=(-0.7, 2.0))
    both = [ids_of(rasterize(crossing, topology, SIZE, cull=c)) for c in ("back", "front")]
    everything = ids_of(rasterize(crossing, topology, SIZE))
    assert ((everything == both[0]) | (everything == both[1])).all()


def test_new_vertices_and_same_sized_topologies_do_not_recompile(rng):
    clip, topology = meshes.soup(rng, NUM, 0.4)
    rasterize(clip, topology, SIZE)
    before = _rasterize._cache_size()
    rasterize(clip * 0.9, MeshTopology(topology.triangles[::-1], len(clip)), SIZE)
    assert _rasterize._cache_size() == before


def test_lowers_for_accelerators_without_a_device(rng):
    clip, topology = meshes.soup(rng, NUM, 0.4)

    def loss(clip):
        return jnp.sum(rasterize(clip, topology, SIZE).barycentric ** 2)

    clips = np.stack([clip, clip])
    assert all("scatter" in text for text in accelerator_programs(jax.value_and_grad(loss), clips))


@pytest.mark.slow
@pytest.mark.slow
def test_fifty_times_faster_than_a_loop_over_triangles():
    vertices, topology = meshes.sphere(100, 200)
    clip = np.concatenate([0.9 * vertices, np.ones((len(vertices), 1))], axis=1).astype(np.float32)
    fast = jax.jit(lambda clip: rasterize(clip, topology, (224, 224)))
    turns = {
        "fast": lambda: jax.block_until_ready(fast(clip)),
        "slow": lambda: numpy_zbuffer(clip, topology.triangles, 224, 224),
    }
    turns["fast"]()
    times = milliseconds(turns, repeats=3)
    assert times["slow"] > 50 * times["fast"], times


def test_default_backend_of_the_tests_is_cpu():
    assert platform.on_cpu()
    with jax.default_device(jax.devices("cpu")[0]):
        assert platform.on_cpu()


def test_errors_say_what_to_do(rng):
    clip, topology = meshes.soup(rng, 2, 0.4)
    with pytest.raises(ValueError, match="to_clip"):
        rasterize(clip[:, :3], topology, SIZE)
    with pytest.raises(ValueError, match="cull"):
        rasterize(clip, topology, SIZE, cull="both")
    with pytest.raises(ValueError, match="32767"):
        rasterize(clip, topology, (8, 40000))
