"""A head with all parts and its canvas, small, made once for all tests of painted skin."""

import dataclasses

import numpy as np
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.morphable.model import FaceTopology
from facejax.morphable.skin import canvas, fields

SIZE = 64


def grid(points, u, v):
    """A patch [R, C, 3] as (vertices, uv, triangles), counter-clockwise where u and v are."""
    rows, columns = points.shape[:2]
    i = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (q.reshape(-1) for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    uv = np.stack(np.meshgrid(u, v), axis=-1)
    return (
        points.reshape(-1, 3),
        uv.reshape(-1, 2),
        np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)]),
    )


def eyeball(center, radius=12.0):
    """Front half of a ball."""
    t = np.linspace(-1.5, 1.5, 12)
    x, y = np.meshgrid(t, t[::-1])
    ray = np.stack([np.tan(x * 0.6), np.tan(y * 0.6), np.ones_like(x)], axis=-1)
    return center + radius * ray / np.linalg.norm(ray, axis=-1, keepdims=True)


def arch(y0, y1, front):
    """A row of teeth: half an ellipse in x and z."""
    angle = np.linspace(-1.9, 1.9, 24)
    y = np.linspace(y1, y0, 6)
    x, z = 24 * np.sin(angle), front - 32 + 32 * np.cos(angle)
    return np.stack([np.stack([x, np.full_like(x, h), z], axis=1) for h in y])


def add_parts(model):
    """The procedural head with eyeballs, teeth, tongue and ears, its UVs pressed to u < 0.8."""
    shape, topology = np.asarray(model.mean_shape), model.topology
    points = shape[topology.landmarks68]
    lips = points[[62, 66]].mean(axis=0)
    sides = np.linspace(0.83, 0.98, 2)
    parts = [
        ("eye", eyeball(points[36:42].mean(axis=0) - [0, 0, 9]), (0.02, 0.15)),
        ("eye", eyeball(points[42:48].mean(axis=0) - [0, 0, 9]), (0.18, 0.31)),
        ("mouth_inside", arch(lips[1] - 1, lips[1] + 16, lips[2] - 4), (0.34, 0.50)),
        ("mouth_inside", arch(lips[1] - 17, lips[1] - 2, lips[2] - 6), (0.54, 0.70)),
        ("mouth_inside", np.stack(np.meshgrid(np.linspace(-18, 18, 8), np.linspace(-9, 40, 8)), -1)
         @ np.array([[1, 0, 0], [0, 0, -1.0]]) + lips - [0, 7, 0], (0.74, 0.90)),
    ]  # fmt: skip
    mesh = topology.mesh
    vertices, uv = [shape], [mesh.uv * [0.8, 1]]
    triangles, uv_triangles, uv_vertex = [mesh.triangles], [mesh.uv_triangles], [mesh.uv_vertex]
    masks = {k: [v] for k, v in topology.masks.items()}
    masks["eye"], masks["mouth_inside"] = [0 * masks["eye"][0]], [0 * masks["eye"][0]]
    masks["interior"] = [0 * masks["eye"][0]]
    masks["ears"] = [((np.abs(shape[:, 0]) > 78) & (np.abs(shape[:, 1] - 20) < 30)).astype(float)]
    count, uv_count = len(shape), len(mesh.uv)
    for name, patch, rows in parts:
        rows = np.linspace(*rows, patch.shape[0])
        p, t, f = grid(patch, np.linspace(*sides, patch.shape[1]), rows)
        vertices.append(p), uv.append(t), triangles.append(f + count)
        uv_triangles.append(f + uv_count), uv_vertex.append(np.arange(len(p)) + count)
        for key, values in masks.items():
            values.append(np.full(len(p), float(key in (name, "interior"))))
        count, uv_count = count + len(p), uv_count + len(p)
    mesh = MeshTopology(
        np.concatenate(triangles).astype(np.int32),
        count,
        np.concatenate(uv).astype(np.float32),
        np.concatenate(uv_triangles).astype(np.int32),
        np.concatenate(uv_vertex).astype(np.int32),
    )
    topology = FaceTopology(
        mesh, topology.landmarks68, topology.landmarks5,
        {k: np.concatenate(v) for k, v in masks.items()}, (), "toy", "toy of the skin tests",
    )  # fmt: skip
    return dataclasses.replace(
        model, mean_shape=np.concatenate(vertices).astype(np.float32), topology=topology
    )


@pytest.fixture(scope="session")
def head(small_model):
    return add_parts(small_model)


@pytest.fixture(scope="session")
def coarse():
    """A fine grid of 256 instead of 1024 texels: a canvas in a second."""
    before, fields.FINE = fields.FINE, 256
    yield
    fields.FINE = before


@pytest.fixture(scope="session")
def board(head, coarse):
    return canvas(head, SIZE)
