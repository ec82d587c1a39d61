"""The original's experiments as functions: held-out triples, the diversity figure, a synthetic set.

Files have the names and layout of the original below `out`; what `facejax evaluate` calls.
"""

import pathlib
from collections.abc import Callable

import numpy as np

from facejax.systems.manifold import data, denoise, gallery
from facejax.systems.manifold.dataset import sparse_noise
from facejax.systems.manifold.denoise import KEYS, MODES, Denoisers
from facejax.systems.manifold.diversity import populations, trace
from facejax.systems.manifold.system import ManifoldSystem

FOLDERS = {"shape": "shape", "exp": "expression", "both": "shape_and_expression"}
_TEST_SHARE = {"shape": 0.2, "expression": 0.5}  # of the noise of training: 1e5 of 5e5, 1 of 2


def _check(run: Denoisers, mode: str, size: int) -> tuple[str, ...]:
    """The targets of a mode."""
    if mode not in MODES:
        raise ValueError(f"found mode {mode!r}, wanted one of {tuple(MODES)}")
    missing = [t for t in MODES[mode] if t not in run.nets]
    if missing:
        raise ValueError(
            f"mode {mode!r} needs denoisers for {missing}; the run has {list(run.nets)}"
        )
    if size < 2:
        raise ValueError(f"size must be at least 2, found {size}")
    return MODES[mode]


def _rows(run: Denoisers, targets: tuple[str, ...]) -> dict[str, data.Rows]:
    return {t: data.load_rows(run.config, t) for t in targets}


def _table(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {KEYS[t]: v for t, v in parts.items()}


def held_out_triples(
    run: Denoisers,
    out: str | pathlib.Path,
    *,
    mode: str = "shape",
    size: int = 20,
    sigmas: dict[str, str] | None = None,
    seed: int = 0,
    kind: str = "npz",
    pictures: bool = True,
) -> dict[str, dict[str, float]]:
    """The original's test.py: held-out faces, corrupted, denoised.

    Writes `labels`, `inputs` and `outputs` tables and {i}_gt.jpg, {i}_input.jpg, {i}_output.jpg to
    OUT/output_on_test_data/{shape,expression,shape_and_expression}.

    Args:
      run: its denoisers.
      out: folder.
      mode: 'shape', 'exp' or 'both'.
      size: faces; at most all held-out ones.
      sigmas: {'shape': text, 'expression': text}, see `data.per_component`; what is absent is a
        fifth (shape) or half (expression) of the noise of training, as published.
      seed: of the noise.
      kind: of the tables, 'npz' or 'pkl'.
      pictures: needs a face model.

    Returns:
      {target: {'corruption': mean squared error of the inputs, 'denoised': of the outputs}}.
    """
    targets, rng = _check(run, mode, size), np.random.default_rng(seed)
    painter = denoise.load_painter(run) if pictures else None
    folder = pathlib.Path(out) / "output_on_test_data" / FOLDERS[mode]
    parts: dict[str, dict[str, np.ndarray]] = {"gt": {}, "input": {}, "output": {}}
    result = {}
    for target, rows in _rows(run, targets).items():
        clean = rows.test[:size]
        spec = (sigmas or {}).get(target)
        share = 1.0 if spec is not None else _TEST_SHARE[target]
        spec = run.config.train[f"{target}_sigma"] if spec is None else spec
        sigma = share * data.per_component(spec, run.config, target, rows.train)
        noisy = (clean + sparse_noise(rng, *clean.shape, sigma)).astype(np.float32)
        output = denoise.denoise(run, target, noisy)
        for name, value in zip(parts, (clean, noisy, output), strict=True):
            parts[name][target] = value
        result[target] = {
            "corruption": float(((noisy - clean) ** 2).mean()),
            "denoised": float(((output - clean) ** 2).mean()),
        }
    for name, table in (("labels", "gt"), ("inputs", "input"), ("outputs", "output")):
        denoise.write_table(folder, name, _table(parts[table]), kind)
    if painter is not None:
        for name in gallery.TRIPLE:
            denoise.write_pictures(folder, painter.faces(parts[name]), f"_{name}")
    return result


def diversity_figure(
    run: Denoisers,
    out: str | pathlib.Path,
    *,
    mode: str = "both",
    size: int = 200,
    width: float = 10.0,
    strength: float = 1.0,
    times: int = 1,
    seed: int = 0,
    kind: str = "npz",
    pictures: bool = False,
    legacy: bool = False,
) -> dict[str, dict[str, float]]:
    """The original's plot_scatter_diagram.py: three populations on their joint principal plane.

    Writes OUT/scatter_diagrams/{shape,expression}/fig{size}.png and, below the same folder, the
    tables normal/labels and model_output_on_uniform/{labels,labels_out} of uniform samples before
    and after denoising.

    Args:
      run, out, mode, kind: as for `held_out_triples`.
      size: faces per population.
      width: of uniform sampling, standard deviations.
      strength, times: of the denoising.
      seed: of the draws.
      pictures: {i}.jpg of every face of both populations; needs a face model.
      legacy: plot the uniform samples before denoising, as the original does by mistake.

    Returns:
      {target: {population: trace of the covariance}}.
    """
    targets = _check(run, mode, size)
    painter = denoise.load_painter(run) if pictures else None
    base = pathlib.Path(out) / "scatter_diagrams"
    sets = {}
    for target, rows in _rows(run, targets).items():
        sets[target] = populations(
            rows.train, rows.test, _denoiser(run, target, strength, times), size, width, seed,
            prior=data.prior(run.config, target, rows.train),
        )  # fmt: skip
    third = "uniform" if legacy else "manifold"
    result = {}
    for target, found in sets.items():
        shown = {k: found[k] for k in ("normal", "real", third)}
        result[target] = {k: trace(v) for k, v in shown.items()}
        gallery.write_scatter(base / target / f"fig{size}.png", shown, result[target])
    for name, folder, population in (
        ("labels", "normal", "normal"),
        ("labels", "model_output_on_uniform", "uniform"),
        ("labels_out", "model_output_on_uniform", "manifold"),
    ):
        parts = {t: s[population] for t, s in sets.items()}
        denoise.write_table(base / folder, name, _table(parts), kind)
        if painter is not None:
            suffix = "_out" if name == "labels_out" else ""
            denoise.write_pictures(base / folder, painter.faces(parts), suffix)
    return result


def synthetic_set(
    run: Denoisers,
    out: str | pathlib.Path,
    *,
    mode: str = "both",
    size: int = 50,
    widths: dict[str, float] | None = None,
    strength: float = 1.0,
    times: int = 1,
    seed: int = 0,
    kind: str = "npz",
) -> pathlib.Path:
    """The original's create_synthetic_dataset.py: wide uniform faces and the same denoised.

    Writes OUT/synthetic_dataset/dataset/{i}.jpg with `labels`, and network_output/{i}.jpg with
    `outputs`. For labelled data sets in quantity there is `facejax make_dataset`.

    Args:
      run, out, mode, size, kind, strength, times, seed: as for `diversity_figure`.
      widths: {'shape': 10, 'expression': 10} standard deviations.

    Returns:
      The folder.
    """
    targets = _check(run, mode, size)
    painter, rng = denoise.load_painter(run), np.random.default_rng(seed)
    before: dict[str, np.ndarray] = {}
    for target, rows in _rows(run, targets).items():
        mean, std = data.prior(run.config, target, rows.train) or (
            rows.train.mean(axis=0), rows.train.std(axis=0)
        )  # fmt: skip
        width = (widths or {}).get(target, 10.0)
        draws = rng.uniform(-0.5, 0.5, (size, len(mean)))
        before[target] = (mean + width * std * draws).astype(np.float32)
    after = {t: _denoiser(run, t, strength, times)(v) for t, v in before.items()}
    albedo = {"albedo": rng.standard_normal((size, painter.model.num_alb)).astype(np.float32)}
    base = pathlib.Path(out) / "synthetic_dataset"
    for folder, name, parts in (
        ("dataset", "labels", before), ("network_output", "outputs", after)
    ):  # fmt: skip
        denoise.write_table(base / folder, name, _table(parts) | {"tp": albedo["albedo"]}, kind)
        denoise.write_pictures(base / folder, painter.faces(parts | albedo))
    return base


def _denoiser(
    run: Denoisers, target: str, strength: float, times: int
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: denoise.denoise(run, target, rows, strength, times)


def numerical(run: Denoisers) -> dict[str, dict[str, float]]:
    """The original's evaluate_test_data_numerical: errors of both nets on the whole hold-out.

    Returns:
      {target: {method: mean squared error}}, see `metrics.denoising_figures`.
    """
    from facejax.systems.manifold import metrics

    system = ManifoldSystem(run.config)
    return {
        t: metrics.denoising_figures(system, t, metrics.denoiser(system, t, run.params[t]), None)[
            "mse"
        ]
        for t in run.nets
    }
