import numpy as np
import pytest

from facejax.geometry.mesh import Mesh, MeshTopology
from facejax.io import tangents
from tests.io.shapes import cylinder, with_maps


def _quad(mirrored=False):
    """The unit square in the plane z = 0, facing +z, textured upright or mirrored."""
    vertices = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    u = 1 - vertices[:, 0] if mirrored else vertices[:, 0]
    uv = np.stack([u, 1 - vertices[:, 1]], axis=-1)  # v down: the top of the picture is y = 1
    return Mesh(vertices, MeshTopology([[0, 1, 2], [0, 2, 3]], 4, uv=uv))


@pytest.mark.parametrize("mirrored", [False, True])
def test_axes_are_gltfs(mirrored):
    frames = tangents.tangent_frames(_quad(mirrored))
    side = -1.0 if mirrored else 1.0
    np.testing.assert_allclose(frames.tangent, np.tile([side, 0, 0, side], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(frames.bitangent, np.tile([0, 1, 0], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(frames.normal, np.tile([0, 0, 1], (4, 1)), atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_normal_leaning_up_is_green_and_one_leaning_along_u_is_red(mirrored):
    mesh = _quad(mirrored)
    lean_up = np.broadcast_to(np.float32([0, 0.6, 0.8]), (8, 8, 3))
    got = tangents.object_to_tangent(mesh.replace(normal_map=lean_up))
    np.testing.assert_allclose(got, lean_up, atol=1e-6)
    along_u = np.float32([-0.6 if mirrored else 0.6, 0, 0.8])
    got = tangents.object_to_tangent(mesh.replace(normal_map=np.broadcast_to(along_u, (8, 8, 3))))
    np.testing.assert_allclose(got, np.broadcast_to([0.6, 0, 0.8], (8, 8, 3)), atol=1e-6)


def test_round_trip_over_a_curved_surface_with_a_seam(rng):
    mesh = with_maps(cylinder(), rng)
    local = tangents.object_to_tangent(mesh)
    np.testing.assert_allclose(np.linalg.norm(local, axis=-1), 1.0, atol=1e-5)
    back = tangents.tangent_to_object(mesh, local)
    covered = np.linalg.norm(back, axis=-1) > 0.5
    assert 0.3 < covered.mean() < 1.0
    np.testing.assert_allclose(back[covered], mesh.normal_map[covered], atol=1e-5)


def test_the_surface_itself_is_flat_blue_and_so_is_the_background():
    mesh = cylinder()
    smooth = tangents.tangent_to_object(mesh, np.broadcast_to(np.float32([0, 0, 1]), (32, 32, 3)))
    got = tangents.object_to_tangent(mesh.replace(normal_map=smooth))
    np.testing.assert_allclose(got, np.broadcast_to([0, 0, 1], (32, 32, 3)), atol=1e-5)


def test_the_gutter_copies_the_nearest_chart_texel(rng):
    mesh = with_maps(cylinder(), rng)
    local = tangents.object_to_tangent(mesh)
    covered = np.linalg.norm(tangents.tangent_to_object(mesh, local), axis=-1) > 0.5
    row = np.flatnonzero(covered.any(axis=1))[0]
    assert row >= 2
    np.testing.assert_array_equal(local[row - 1], local[row])
    np.testing.assert_allclose(local[0, 0], [0, 0, 1])


def test_frames_without_uv_area_are_still_orthonormal():
    mesh = _quad()
    collapsed = mesh.replace(
        topology=MeshTopology(mesh.topology.triangles, 4, uv=np.full((4, 2), 0.5))
    )
    frames = tangents.tangent_frames(collapsed)
    np.testing.assert_allclose(np.linalg.norm(frames.tangent[:, :3], axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose((frames.tangent[:, :3] * frames.normal).sum(-1), 0.0, atol=1e-6)
