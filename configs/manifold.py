"""Face Manifold: denoising autoencoders over face-model coefficients, one for shape, one for
expression.

python launch/main.py --config=configs/manifold.py --workdir=runs/manifold

The default trains both on coefficients of the procedural head: two CPU cores, a few minutes.
Presets (`--config=configs/manifold.py:NAME`): smoke (seconds), paper_shape (also called paper) and
paper_expression (the published recipe on 300W-3D and AFLW2000-3D files: --config.data.path=FOLDER).
"""

from ml_collections import ConfigDict

from facejax.train.config import choose_preset, train_config

PRESETS = ("default", "smoke", "paper", "paper_shape", "paper_expression")


def _default() -> ConfigDict:
    c = train_config(system="manifold", log_every=200, sample_kimg=0.0, checkpoint_kimg=500.0)
    c.data = ConfigDict(
        dict(
            source="procedural",  # 'mat' and 'arrays' read data.path
            path="",
            model_path="",  # with 'mat' and 'arrays': a face model, for errors in millimetres
            model_options=dict(rows=0, cols=0, n_id=0, n_alb=0, draws=0, texture_size=0),
            num_rows=10000,
            num_test=1000,  # held-out faces
            seed=0,
            # Coefficients are divided by it; 'std': that of each component, 'ev': the face model's.
            shape_scale="1",
            expression_scale="1",
        )
    )
    # 'autoencoder4' and 'autoencoder3' are the published networks, 'mlp' is for comparison
    c.model = ConfigDict(dict(targets="shape,expression", net="gated", hidden=256))
    c.train = ConfigDict(
        dict(
            noise="fresh",  # 'fixed': one draw per row; 'stored': noisy.npy of 'arrays'
            shape_sigma="2.5",  # or 'ev', 'std' as above
            expression_sigma="0.5",
        )
    )
    c.schedule = ConfigDict(dict(batch_size=128, lr=0.003, lr_decay="cosine", total_kimg=1600.0))
    c.optim = ConfigDict(dict(b1=0.9, b2=0.999, eps=1e-8))
    c.ema = ConfigDict(dict(half_life_kimg=10.0))
    # (strength, times) of the denoising that makes faces of wide samples: --mode=evaluate measures
    c.sampling = ConfigDict(dict(shape=(0.3, 6), expression=(0.55, 32)))
    c.evaluate = ConfigDict(
        dict(
            repeats=8,
            size=2000,
            uniform_range=10.0,
            # what is tried for 'varied' samples: steps of a strength, so many times
            strengths=(0.3, 0.45, 0.55),
            times=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
            plausible_share=0.95,
            seed=1,
            num_faces=6,
            picture_size=160,
        )
    )
    return c


def _paper(target: str) -> ConfigDict:
    c = _default()
    c.data.update(source="mat", num_test=600, shape_scale="1e4", expression_scale="1")
    c.model.update(targets=target, net="autoencoder4")
    c.train.update(shape_sigma="5e5", expression_sigma="2")
    shape = target == "shape"
    # 20 epochs over 5,237 training faces, each corrupted 100 or 50 times
    c.schedule.update(
        batch_size=128 if shape else 512,
        lr=0.001,
        lr_decay="constant",
        total_kimg=20 * 5.237 * (100 if shape else 50),
    )
    c.ema.half_life_kimg = 0.0
    c.sampling.update(shape=(1.0, 1), expression=(1.0, 1))
    return c


def get_config(preset: str | None = None) -> ConfigDict:
    """The config of a preset.

    Raises:
      ValueError: an unknown preset.
    """
    preset = choose_preset(preset, PRESETS)
    if preset.startswith("paper"):
        return _paper("expression" if preset == "paper_expression" else "shape")
    c = _default()
    if preset == "smoke":
        c.data.update(num_rows=80, num_test=16)
        c.data.model_options.update(rows=32, cols=32, n_id=20, n_alb=4, draws=32, texture_size=16)
        c.schedule.update(batch_size=16, total_kimg=0.096)
        c.log_every = 2
        c.evaluate.update(
            repeats=2, size=64, num_faces=2, picture_size=48, strengths=(0.5,), times=(1, 2)
        )
    return c
