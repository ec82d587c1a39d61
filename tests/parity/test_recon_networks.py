"""The Deep3D family's networks against values computed by the original code (random weights)."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.geometry import hierarchy as hierarchies
from facejax.image.warp import affine_warp
from facejax.nn.arcface import IResNet
from facejax.nn.chebyshev import chebyshev, plain_rows
from facejax.nn.inception_resnet import InceptionResNetV1
from facejax.pretrained import published
from facejax.recon.graph_net import GraphNet
from facejax.recon.rnet import RNet
from tests.parity.golden import case_files

TORCH = case_files("recon", "networks.npz")
GRAPH = case_files("recon", "gcn.npz")
SAMPLING = case_files("recon", "mesh_sampling.npz")
TENSORFLOW = case_files("recon", "networks_tf.npz")
DEFAULT_SEED = 1  # of files that do not state theirs


def torch_value(name, shape, draw):
    """Random weights of the reference run for a PyTorch name."""
    if name.endswith("running_mean"):
        return draw.randn(*shape) * 0.1
    if name.endswith("running_var"):
        return 0.5 + draw.rand(*shape)
    if name.endswith("bias"):
        return draw.randn(*shape) * 0.1
    if len(shape) == 1:
        return 0.2 + 0.4 * draw.rand(*shape)
    value = draw.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
    return value * (0.3 if name.startswith("final_layers") else 1.0)


def tf_value(name, shape, draw):
    """Random weights of the reference run for a TensorFlow name."""
    if name.endswith("moving_variance"):
        return 0.5 + draw.rand(*shape)
    if name.endswith("gamma"):
        return 0.2 + 0.4 * draw.rand(*shape)
    if not name.endswith("weights"):
        return draw.randn(*shape) * 0.1
    value = draw.randn(*shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return value * (0.3 if name.startswith("fc-") else 1.0)


def stream(case, name):
    """Random numbers of the reference run for a name; `case` holds its seed."""
    seed = int(case.get("seed", DEFAULT_SEED))
    return np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)


def reference_variables(case, net, image_shape, form, value):
    """(variables as the reference run had them, number of trained parameters)."""
    wanted = published.abstract_variables(net, image_shape)
    blank = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), wanted)
    arrays = {
        name: value(name, zeros.shape, stream(case, name)).astype(np.float32)
        for name, zeros in published.to_published(blank, form).items()
    }
    count = sum(leaf.size for leaf in jax.tree.leaves(wanted["params"]))
    return published.from_published(arrays, wanted, form), count


@functools.cache
def load(path):
    return dict(np.load(path))


def close(got, want):
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("path", TORCH)
@pytest.mark.parametrize(("depth", "count"), [(18, 11_308_353), (50, 24_034_625)])
def test_rnet_of_the_pytorch_code(path, depth, count):
    case = {k.removeprefix(f"resnet{depth}/"): v for k, v in load(path).items()}
    image = case["input"].transpose(0, 2, 3, 1)
    net = RNet(depth=depth)
    variables, found = reference_variables(
        case, net, image.shape, published.RNET_TORCH, torch_value
    )
    assert found == count
    coeff, pool = jax.jit(net.apply)(variables, image)
    close(coeff, case["coeff_eval"])
    close(pool, case["pool"])
    train = jax.jit(functools.partial(net.apply, train=True, mutable=["batch_stats"]))
    (coeff, _), state = train(variables, image)
    close(coeff, case["coeff_train"])
    stats = state["batch_stats"]["backbone"]["bn1"]
    close(stats["mean"], case["bn1_running_mean_after"])
    close(stats["var"], case["bn1_running_var_after"])


@pytest.mark.parametrize("path", TENSORFLOW)
def test_rnet_of_the_tensorflow_code(path):
    case = {k.removeprefix("rnet_tf/"): v for k, v in load(path).items()}
    net = RNet(variant="slim")
    variables, found = reference_variables(
        case, net, case["input"].shape, published.RNET_TF, tf_value
    )
    assert found == 24_034_625
    # only what the first stage returns is kept, of all modules
    watch = functools.partial(
        net.apply,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.name == "layer1_2",
    )
    (coeff, pool), state = jax.jit(watch)(variables, case["input"])
    close(coeff, case["coeff"])
    close(pool, case["pool5"])
    block1 = state["intermediates"]["backbone"]["layer1_2"]["__call__"][0]
    assert block1.shape == tuple(case["block1_shape"])
    close(block1.mean(axis=(1, 2)), case["block1_out_mean_c"])


@pytest.mark.parametrize("path", TORCH)
@pytest.mark.parametrize(("depth", "count"), [(18, 24_025_600), (50, 43_590_848)])
def test_arcface(path, depth, count):
    case, tag, shape = load(path), f"arcface_r{depth}", (1, 3, 112, 112)
    image = (
        (stream(case, f"{tag}/input").rand(*shape) * 2 - 1).astype(np.float32).transpose(0, 2, 3, 1)
    )
    net = IResNet(depth)
    variables, found = reference_variables(
        case, net, image.shape, published.ARCFACE_TORCH, torch_value
    )
    assert found == count
    close(jax.jit(net.apply)(variables, image), case[f"{tag}/embedding"])


@pytest.mark.parametrize("path", TENSORFLOW)
def test_facenet(path):
    case, shape = load(path), (1, 160, 160, 3)
    image = (stream(case, "facenet/input").rand(*shape) * 2 - 1).astype(np.float32)
    net = InceptionResNetV1()
    variables, found = reference_variables(case, net, shape, published.FACENET_TF, tf_value)
    assert found == 22_779_312
    assert found + sum(x.size for x in jax.tree.leaves(variables["batch_stats"])) == 22_808_144
    embedding, pooled = jax.jit(net.apply)(variables, image)
    close(pooled, case["facenet/prelogits1792"])
    close(embedding, case["facenet/embedding_pre_l2"])


@pytest.mark.parametrize("path", TORCH)
def test_warp_of_the_recognition_input(path):
    case = load(path)
    y, x = np.indices((224, 224))
    waves = [np.sin(x / (9 + 3 * k) + k) * np.cos(y / (11 - 2 * k)) for k in range(3)]
    image = np.clip(127 + 100 * np.stack(waves, -1), 0, 255).astype(np.uint8) / np.float32(255)
    warp = jax.jit(functools.partial(affine_warp, size=(112, 112)))
    for name in ("", "2"):
        got = warp(image[None], case[f"warp/M{name}"])
        np.testing.assert_allclose(got, case[f"warp/out{name}"].transpose(0, 2, 3, 1), atol=1e-4)


def dense(case, name):
    out = np.zeros(case[f"{name}_shape"])
    np.add.at(out, (case[f"{name}_row"], case[f"{name}_col"]), case[f"{name}_val"])
    return out


def dense_rows(index, weight, columns):
    out = np.zeros((len(index), columns))
    np.add.at(out, (np.arange(len(index))[:, None], index), weight)
    return out


def reference_hierarchy(case):
    """The levels that the original code built, with its interpolation weights."""

    def rows(name, add_identity=False):
        matrix = dense(case, name) - (np.eye(int(case[f"{name}_shape"][0])) if add_identity else 0)
        row, column = np.nonzero(matrix)
        return hierarchies.padded_rows(row, column, matrix[row, column], matrix.shape)

    graphs = [rows(f"L{k}", add_identity=True) for k in range(5)]
    ups = [rows(f"U_orig{k}") for k in range(4)]
    keep = tuple(case[f"keep{k}"] for k in range(4))
    return hierarchies.MeshHierarchy(
        tuple(g[0] for g in graphs), tuple(g[1] for g in graphs), keep,
        tuple(u[0] for u in ups), tuple(u[1] for u in ups),
    ).split()  # fmt: skip


@pytest.mark.parametrize("path", SAMPLING)
def test_mesh_hierarchy(path):
    case = load(path)
    fine, triangles = case["verts"].astype(np.float64), case["faces"]
    for level in range(4):
        kept, coarse = hierarchies.decimate(fine, triangles, case["sizes"][level + 1])
        wanted, wanted_triangles = case[f"keep{level}"], case[f"faces{level + 1}"]
        if level == 0:  # deeper levels may differ by ties of costs near zero
            np.testing.assert_array_equal(kept, wanted)
            np.testing.assert_array_equal(coarse, wanted_triangles)
        assert len(kept) == case["sizes"][level + 1]
        got = dense_rows(*hierarchies.laplacian_rows(triangles, len(fine)), len(fine))
        np.testing.assert_allclose(got + np.eye(len(fine)), dense(case, f"L{level}"), atol=1e-6)
        for legacy, name in ((False, "U_bary"), (True, "U_orig")):
            rows = hierarchies.upsampling_rows(fine, fine[wanted], wanted_triangles, legacy)
            got, want = dense_rows(*rows, len(wanted)), dense(case, f"{name}{level}")
            np.testing.assert_allclose(got, want, atol=1e-4)
        fine, triangles = fine[wanted], wanted_triangles


@pytest.mark.parametrize("path", GRAPH)
def test_graph_net(path):
    case = load(path)
    levels = reference_hierarchy(load(path.with_name("mesh_sampling.npz")))
    graph = plain_rows(levels.neighbors[1], levels.weights[1])
    kernel = case["cheb_W"].reshape(-1, 6, case["cheb_W"].shape[-1]).transpose(1, 0, 2)
    atol = dict(rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        chebyshev(jnp.asarray(case["cheb_x"]), graph, kernel), case["cheb_y"], **atol
    )
    np.testing.assert_allclose(levels.unpool(case["cheb_x"], 0), case["unpool_y"], **atol)
    np.testing.assert_allclose(levels.pool(case["cheb_x"], 1), case["pool_y"], **atol)

    net = GraphNet()
    inputs = case["image_emb"], case["pca_mesh"]
    wanted = published.abstract_variables(net, *(x.shape for x in inputs), levels)
    arrays = {k.removeprefix("param/"): v for k, v in case.items() if k.startswith("param/")}
    variables = published.from_published(arrays, wanted, published.GRAPH_TF)

    @jax.jit
    def run(variables, embedding, mesh, levels):
        def loss(*args):
            out = net.apply(*args, levels)
            return jnp.sum(out * case["w"]) / out.shape[-2], out

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(variables, embedding, mesh)

    (loss, out), (grad, grad_embedding, grad_mesh) = run(variables, *inputs, levels)
    np.testing.assert_allclose(out, case["out"], atol=1e-5)
    assert float(loss) == pytest.approx(float(case["loss"]), abs=1e-5)
    np.testing.assert_allclose(grad_embedding, case["grad_image_emb"], **atol)
    np.testing.assert_allclose(grad_mesh, case["grad_pca_mesh"], **atol)
    grads = published.to_published(grad, published.GRAPH_TF)
    checked = [k.removeprefix("grad/") for k in case if k.startswith("grad/")]
    assert len(checked) >= 10
    for name in checked:
        np.testing.assert_allclose(grads[name], case[f"grad/{name}"], **atol, err_msg=name)
