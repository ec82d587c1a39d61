"""Clean coefficient vectors, split into training and held-out rows."""

import dataclasses
import hashlib
import json
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from facejax.data.source import Source, check_indices
from facejax.host.arrays import describe_array, read_npy
from facejax.host.shell import command_line

TARGETS = ("shape", "expression")
SOURCES = ("procedural", "mat", "arrays")
_STRIDE = 8  # every so many vertices of the head are enough to fit its coefficients

# FACS-like prototypes; a name stands for both sides
PROTOTYPES = (
    {"mouthSmile": 0.9, "cheekSquint": 0.6},
    {"mouthSmile": 0.7, "cheekSquint": 0.4, "jawOpen": 0.4, "mouthUpperUp": 0.3},
    {"browInnerUp": 0.9, "browOuterUp": 0.9, "jawOpen": 0.7, "eyeWide": 0.8},
    {"browDown": 0.9, "eyeSquint": 0.5, "mouthPress": 0.6, "noseSneer": 0.3},
    {"noseSneer": 0.9, "mouthUpperUp": 0.6, "browDown": 0.4, "cheekSquint": 0.4},
    {"mouthPucker": 0.9, "mouthFunnel": 0.3},
    {"eyeBlink": 0.95, "cheekSquint": 0.2},
    {"cheekPuff": 0.9, "mouthPress": 0.3},
    {"browInnerUp": 0.9, "eyeWide": 0.9, "mouthStretch": 0.7, "jawOpen": 0.25},
    {"mouthFrown": 0.9, "browInnerUp": 0.7, "mouthShrugLower": 0.5},
    {"jawOpen": 0.9, "mouthLowerDown": 0.5},
    {"jawLeft": 0.8, "mouthLeft": 0.6},
    {"jawRight": 0.8, "mouthRight": 0.6},
    {"mouthFunnel": 0.8, "jawOpen": 0.3},
    {"mouthRollLower": 0.8, "mouthRollUpper": 0.6, "mouthPress": 0.5},
    {"mouthDimple": 0.7, "eyeSquint": 0.5, "mouthClose": 0.2},
)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Coefficient vectors of one target.

    Attributes:
      train: [N, n] float32, clean.
      test: [M, n] float32, clean, of other faces.
      noisy: [N, n] their stored corruption, or None where noise is drawn.
    """

    train: np.ndarray
    test: np.ndarray
    noisy: np.ndarray | None = None


def draw_expressions(names: tuple[str, ...], num: int, rng: np.random.Generator) -> np.ndarray:
    """Blendshape weights of plausible expressions.

    One or two prototypes of random strength, slightly uneven between the sides, plus one further
    shape at a weight of up to 0.2.

    Args:
      names: of the blendshapes, ARKit-style, sides as '_L' and '_R'.
      num: how many.
      rng: numpy generator.

    Returns:
      [num, len(names)] float32 in [0, 1].
    """
    prototypes = np.zeros((len(PROTOTYPES), len(names)))
    bases = [name.removesuffix("_L").removesuffix("_R") for name in names]
    for row, mix in enumerate(PROTOTYPES):
        prototypes[row] = [mix.get(base, 0.0) for base in bases]
    side = np.array([name.endswith("_L") - 1.0 * name.endswith("_R") for name in names])
    out = np.zeros((num, len(names)))
    for row in out:
        for k in rng.choice(len(prototypes), size=rng.integers(1, 3), replace=False):
            uneven = 0.1 * rng.standard_normal() + 0.05 * rng.standard_normal(len(names))
            row += rng.beta(2.0, 1.5) * prototypes[k] * (1 + side * uneven)
        row[rng.integers(len(names))] += rng.uniform(0.0, 0.2)
    return np.clip(out, 0.0, 1.0).astype(np.float32)


def draw_shapes(model, rows: int, cols: int, num: int, rng: np.random.Generator) -> np.ndarray:
    """Identity coefficients of random anatomies of the procedural head.

    The head is not linear in its anatomical parameters, so that its coefficients are no
    axis-aligned Gaussian: there is a manifold to learn. A fit to every eighth vertex.

    Args:
      model: 'procedural' with that grid.
      rows, cols: of its grid.
      num: how many.
      rng: numpy generator.

    Returns:
      [num, D_id] float32, about unit variance.
    """
    from facejax.morphable.procedural import CanonicalLayout, draw_identity, head_points
    from facejax.morphable.procedural.build import MM_PER_CM, HeadGrid

    grid = HeadGrid(rows, cols)
    stride = max(1, min(_STRIDE, len(grid.sample) // (4 * model.num_id)))
    pick = np.arange(1, len(grid.sample), stride)  # vertex 0 is the crown, many samples
    layout = CanonicalLayout(grid.u[grid.sample[pick]], grid.v[grid.sample[pick]])
    mean = np.asarray(model.mean_shape)[pick]
    basis = np.asarray(model.id_basis)[:, pick] * np.asarray(model.id_std)[:, None, None]
    fit = np.linalg.pinv(basis.reshape(model.num_id, -1))

    def coefficients(draw):
        anatomy, warp = draw
        points = MM_PER_CM * head_points(layout, anatomy, warp=warp)
        return (points - mean).reshape(-1) @ fit

    draws = [draw_identity(rng) for _ in range(num)]
    with ThreadPoolExecutor() as pool:  # numpy lets go of the interpreter while it computes
        return np.stack(list(pool.map(coefficients, draws))).astype(np.float32)


def load_model(config):
    """The face model of `config.data`, or None where coefficients come without one."""
    from facejax.morphable import load_morphable

    c = config.data
    if c.source == "procedural":
        options = {k: v for k, v in dict(c.model_options).items() if v}
        return load_morphable("procedural", on_host=True, **options)
    return load_morphable(c.model_path, on_host=True) if c.model_path else None


def _procedural_rows(config, target: str) -> np.ndarray:
    from facejax.host.cache import cached
    from facejax.host.files import atomic_path
    from facejax.morphable import procedural

    c = config.data
    key = [procedural.VERSION, 1, target, c.num_rows, config.data.seed, dict(c.model_options)]
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=10).hexdigest()

    def drawn() -> np.ndarray:
        model = load_model(config)
        rng = np.random.default_rng([c.seed, TARGETS.index(target)])
        if target == "shape":
            size = [dict(c.model_options).get(k) or 128 for k in ("rows", "cols")]
            return draw_shapes(model, *size, c.num_rows, rng)
        return draw_expressions(model.topology.exp_names, c.num_rows, rng)

    def write(path, rows):
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, rows)

    name = f"manifold-{target}-{digest}.npy"
    return cached(name, f"{target} faces", drawn, read_npy, write)


def split_rows(rows: np.ndarray, num_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, held-out rows), shuffled by a seed: whole faces are held out.

    Raises:
      ValueError: nothing would be left to train on.
    """
    if not 0 < num_test < len(rows):
        raise ValueError(
            f"data.num_test is {num_test} of {len(rows)} rows; wanted at least one and fewer than "
            "all"
        )
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows[order[num_test:]], rows[order[:num_test]]


def _read_arrays(folder: pathlib.Path, target: str) -> Rows:
    """The layout of data_prep/make_manifold_data.py, which is that of the original."""
    base = folder / f"dataset_{target}"
    arrays = {}
    for part in ("train/labels", "train/noisy", "test/labels"):
        path = base / f"{part}.npy"
        if not path.is_file():
            mode = "exp" if target == "expression" else target
            make = ("data_prep/make_manifold_data.py", f"--mode={mode}", f"--out={folder}")
            raise ValueError(f"{path}: no such file; make it with {command_line(*make)}")
        array = read_npy(path)
        if array.dtype.kind not in "fiu" or array.ndim < 2 or not array.size:
            raise ValueError(f"{path}: found {describe_array(array)}, wanted numbers [faces, n]")
        arrays[part] = array.reshape(len(array), -1).astype(np.float32)
        if not np.isfinite(arrays[part]).all():
            raise ValueError(f"{path}: holds NaN or infinity, or numbers beyond float32")
    if len({a.shape[1] for a in arrays.values()}) > 1 or len(arrays["train/labels"]) != len(
        arrays["train/noisy"]
    ):
        raise ValueError(f"{base}: shapes { ({k: a.shape for k, a in arrays.items()}) } disagree")
    return Rows(arrays["train/labels"], arrays["test/labels"], arrays["train/noisy"])


def load_rows(config, target: str) -> Rows:
    """The clean rows of a target as `config.data` describes them.

    Raises:
      ValueError: an unknown source, missing files, or too few rows.
    """
    c = config.data
    if c.source not in SOURCES:
        raise ValueError(f"data.source must be one of {SOURCES}, found {c.source!r}")
    if c.source == "procedural":
        return Rows(*split_rows(_procedural_rows(config, target), c.num_test, c.seed))
    if not c.path:
        raise ValueError(f"data.source={c.source!r} needs --config.data.path=FOLDER")
    if c.source == "arrays":
        return _read_arrays(pathlib.Path(c.path), target)
    from facejax.io.mat import read_coefficients

    shape, expression = read_coefficients(c.path)
    return Rows(*split_rows(shape if target == "shape" else expression, c.num_test, c.seed))


def row_counts(config, target: str) -> tuple[int, int, int]:
    """(training rows, held-out rows, coefficients of each) of `load_rows`, without drawing any.

    Raises:
      ValueError: see `load_rows`.
    """
    c = config.data
    if c.source != "procedural":
        rows = load_rows(config, target)
        return len(rows.train), len(rows.test), rows.train.shape[1]
    model = load_model(config)
    length = model.num_id if target == "shape" else len(model.topology.exp_names)
    train, test = split_rows(np.arange(c.num_rows), c.num_test, c.seed)
    return len(train), len(test), length


def eigenvalues(config, target: str, rows: np.ndarray) -> np.ndarray:
    """[n]: 'ev', the standard deviation of each component in the unit of the coefficients.

    That of the face model where `config.data` has one for raw coefficients (`model_path`); else
    that of the rows.
    """
    c = config.data
    if c.source != "procedural" and c.model_path:
        model = load_model(config)
        std = np.asarray(model.id_std if target == "shape" else model.exp_std)
        if len(std) != rows.shape[1]:
            raise ValueError(
                f"{c.model_path} has {len(std)} {target} components, the data {rows.shape[1]}: "
                "give the face model that the coefficients belong to"
            )
    else:
        std = rows.std(axis=0)
    return np.maximum(std, 1e-6 * std.max()).astype(np.float32)


def in_model_unit(config, model, target: str, rows: np.ndarray) -> np.ndarray:
    """Coefficients in the unit of a run, [..., n], as the unit-variance ones of its face model."""
    if config.data.source == "procedural":
        return rows
    return rows / np.asarray(model.id_std if target == "shape" else model.exp_std)


def prior(config, target: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(mean, standard deviation), each [n], of independent sampling from the face model.

    That of the published samplers where `config.data` has a face model for raw coefficients: mean
    0, the eigenvalues, for expressions divided by the largest. None elsewhere: the rows' own.
    """
    if config.data.source == "procedural" or not config.data.model_path:
        return None
    std = eigenvalues(config, target, rows)
    return np.zeros_like(std), std if target == "shape" else std / std.max()


def per_component(spec: str | float, config, target: str, rows: np.ndarray) -> np.ndarray:
    """[n] float32: a setting that is one number for all components, or follows their spread.

    Args:
      spec: 'std' for the standard deviation of each component of `rows`, 'ev' for `eigenvalues`,
        or a number ('1', '1e4').
      config: of the run.
      target: 'shape' or 'expression'.
      rows: [N, n] training rows.

    Raises:
      ValueError: another text, or a number that is not positive.
    """
    if spec == "std":
        std = rows.std(axis=0)
        return np.maximum(std, 1e-6 * std.max()).astype(np.float32)
    if spec == "ev":
        return eigenvalues(config, target, rows)
    return np.full(rows.shape[1], same_for_all(spec), np.float32)


def same_for_all(spec: str | float) -> float:
    """The number of a setting that is one for all components; 0 where it follows their spread.

    Raises:
      ValueError: neither.
    """
    if spec in ("std", "ev"):
        return 0.0
    try:
        value = float(spec)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ValueError(
            f"a scale or sigma must be 'std', 'ev' or a positive number, found {spec!r}"
        )
    return value


class CoefficientSource(Source):
    """Clean rows of one or two targets; example i takes row i of each, modulo their number."""

    def __init__(self, rows: dict[str, Rows], stored_noise: bool):
        if stored_noise and any(r.noisy is None for r in rows.values()):
            raise ValueError("stored noise was asked for, but the rows come without")
        self._rows, self._stored = rows, stored_noise
        self._length = max(len(r.train) for r in rows.values())
        self.meta: dict[str, Any] = {
            "rows": {t: len(r.train) for t, r in rows.items()},
            "components": {t: r.train.shape[1] for t, r in rows.items()},
        }

    def __len__(self) -> int:
        return self._length

    def draw(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """{target: [B, n]}, 'example' [B] int32 and, with stored noise, '<target>_noisy'."""
        indices = check_indices(indices, len(self))
        out = {"example": indices.astype(np.int32)}
        for target, rows in self._rows.items():
            pick = indices % len(rows.train)
            out[target] = rows.train[pick]
            if self._stored:
                out[f"{target}_noisy"] = rows.noisy[pick]
        return out
