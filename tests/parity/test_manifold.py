"""Networks, gradients, training steps and the preview picture of the original Face Manifold."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facejax.geometry.mesh import MeshTopology
from facejax.systems.manifold import networks, preview
from tests.parity.golden import case_files


def _tree(data, prefix):
    names = [k for k in data.files if k.startswith(prefix)]
    return networks.from_torch({k.removeprefix(prefix): data[k] for k in names})


@pytest.mark.parametrize("path", case_files("manifold", "ae4_*.npz"))
def test_autoencoder4(path):
    data = np.load(path)
    x, target = (jnp.asarray(data[k][:, 0]) for k in ("x", "target"))
    net = networks.NetworkConfig("autoencoder4", x.shape[-1])
    params = _tree(data, "param/")
    assert sum(v.size for v in jax.tree.leaves(params)) == 16_353

    def loss(params):
        y = networks.apply(net, params, x)
        return jnp.mean((y - target) ** 2), y

    value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, y), grads = value_and_grad(params)
    np.testing.assert_allclose(y, data["y"][:, 0], atol=1e-5)
    np.testing.assert_allclose(value, data["loss"], atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, _tree(data, "grad/")
    )
    pooled, switches, _ = networks.encode(net, params, x)
    for i, (values, switch) in enumerate(zip(pooled, switches, strict=True), 1):
        np.testing.assert_allclose(values.swapaxes(1, 2), data[f"pool{i}"], atol=1e-5)
        index = np.asarray(switch.swapaxes(1, 2)) + 2 * np.arange(switch.shape[1])
        np.testing.assert_array_equal(index, data[f"pool{i}_index"])

    optimizer = optax.scale_by_adam()  # what the system uses
    state, losses, first = optimizer.init(params), [], params
    for _ in data["adam_losses"]:
        (value, _), grads = value_and_grad(params)
        updates, state = optimizer.update(grads, state)
        params = optax.apply_updates(params, jax.tree.map(lambda u: -1e-3 * u, updates))
        losses.append(float(value))
    np.testing.assert_allclose(losses, data["adam_losses"], atol=1e-5)
    assert np.abs(params["conv_1"]["kernel"] - first["conv_1"]["kernel"]).max() > 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), params, _tree(data, "after10/")
    )


@pytest.mark.parametrize("path", case_files("manifold", "img_from_params*.npz"))
def test_preview_picture(path):
    data = np.load(path)
    vertices = data["shapeMU"] + data["shapePC"] @ data["sp"] + data["expPC"] @ data["ep"]
    vertices = vertices.reshape(-1, 3)
    np.testing.assert_allclose(vertices, data["vertices"], rtol=1e-6, atol=1e-6 * vertices.max())
    colors = (data["texMU"] + data["texPC"] @ (data["tp"] * data["texEV"])).reshape(-1, 3) / 255
    np.testing.assert_allclose(colors, data["colors"], atol=1e-5)
    size = (int(data["h"]), int(data["w"]))
    found = preview.picture(
        vertices, MeshTopology(data["tri"], len(vertices)), colors,
        s=float(data["s"]), angles_deg=tuple(data["angles"]), t=tuple(data["t3d"]), size=size,
    )  # fmt: skip
    np.testing.assert_allclose(found["transformed"], data["transformed"], atol=1e-4)
    np.testing.assert_allclose(found["normals"], data["normals"], atol=1e-5)
    np.testing.assert_allclose(found["lit"], data["lit"], atol=1e-5)
    np.testing.assert_allclose(found["image_vertices"], data["image_vertices"], atol=1e-4)
    same = np.abs(np.asarray(found["image"]) - data["image"]).max(-1) < 1e-4
    assert same.mean() > 0.995
    assert (data["image"] > 0).any()
