"""TBGAN: coupled UV maps of texture, shape and normals, conditioned on expression.

python launch/main.py --config=configs/tbgan.py --workdir=runs/tbgan

The default trains on maps baked from the procedural face model: 16 pixels, two CPU cores, about
seven minutes. Presets (`--config=configs/tbgan.py:NAME`): smoke (seconds), paper (512 pixels, the
published schedule), the published v1-1gpu, v2-1gpu, v2-2gpus, v2-4gpus, v2-8gpus, and benchmark,
benchmark0.
"""

from ml_collections import ConfigDict

from facejax.systems.tbgan.schedule import PUBLISHED
from facejax.train.config import choose_preset, train_config

PRESETS = ("default", "smoke", "paper", *PUBLISHED, "benchmark", "benchmark0")


def _default() -> ConfigDict:
    c = train_config(system="tbgan")
    c.data = ConfigDict(
        dict(
            source="model",  # 'model' bakes maps on the fly; 'packed', 'tfrecords' read data.path
            model="procedural",
            model_path="",
            path="",
            skip_corrupt=False,  # leave damaged TFRecords out: reads all of them at the start
            num_examples=65536,
            label_kind="auto",  # or 'probabilities', 'logits', 'indices'
            encoding="offset",  # from the model's mean maps; 'absolute' as in the paper
            texture_scale=5.0,
            shape_scale_mm=5.0,
            normals_scale=2.0,
        )
    )
    c.model = ConfigDict(
        dict(
            resolution=16,
            modalities="tex:3,shp:3,nor:3",
            label_size=7,
            lod_sep=3,
            fmap_base=256,
            fmap_decay=1.0,
            fmap_max=24,
            latent_size=64,
            mbstd_group=4,
            mbstd_strided=False,
            normalize_latents=True,
            pixelnorm_epsilon=1e-8,
            use_pixelnorm=True,
            use_wscale=True,
            use_leakyrelu=True,
        )
    )
    c.loss = ConfigDict(
        dict(
            gp_weight=10.0,
            gp_target=1.0,
            gp_every=2,
            drift_weight=0.001,
            label_weight_gen=2.0,
            label_weight_real=5.0,
            label_weight_fake=0.0,
            label_scale=3.0,
        )
    )
    c.schedule = ConfigDict(
        dict(
            initial_resolution=8,
            training_kimg=1000.0,
            transition_kimg=1000.0,
            stage_kimg=dict(res8=(0.0, 18.0), res16=(16.0, 60.0)),
            total_kimg=94.0,
            minibatch_base=16,
            minibatch={},
            max_minibatch_per_device={},
            num_devices=1,
            lr_base=0.003,
            lr={},
            lr_decay_fraction=0.3,
            lr_final=0.05,
            reset_optimizer=True,
        )
    )
    c.optim = ConfigDict(dict(b1=0.0, b2=0.99, eps=1e-8))
    c.ema = ConfigDict(dict(decay=0.999, half_life_kimg=2.0, ramp=0.2))
    c.gallery = ConfigDict(dict(tile=112, seed=1000, smoothing=1.0, texture_size=256, num_heads=4))
    c.evaluate = ConfigDict(dict(num_faces=512, seed=1))
    return c


def _published(name: str) -> ConfigDict:
    c = _default()
    c.data.update(encoding="absolute", num_examples=12000)
    c.model.update(resolution=512, lod_sep=7, fmap_base=8192, fmap_max=512, latent_size=0)
    c.model.mbstd_group = 16 if name == "v1-1gpu" else 4
    c.loss.update(gp_every=1, label_scale=1.0)
    c.loss.update(label_weight_gen=1.0, label_weight_real=1.0, label_weight_fake=1.0)
    by_resolution = ("minibatch", "lr")
    fields = {
        k: {f"res{r}": x for r, x in v.items()} if k in by_resolution else v
        for k, v in PUBLISHED[name].items()
    }
    c.schedule = ConfigDict(
        dict(c.schedule)
        | dict(
            initial_resolution=4, stage_kimg={}, lr={}, minibatch={}, lr_base=0.001,
            lr_decay_fraction=0.0, lr_final=1.0,
        )
        | fields
    )  # fmt: skip
    c.ema.update(half_life_kimg=0.0, ramp=0.0)
    c.sample_kimg = c.checkpoint_kimg = 200.0  # the original's VERBOSE: ticks of 100, every second
    return c


def get_config(preset: str | None = None) -> ConfigDict:
    """The config of a preset.

    Raises:
      ValueError: an unknown preset.
    """
    preset = choose_preset(preset, PRESETS)
    if preset in ("default", "smoke"):
        c = _default()
    elif preset in PUBLISHED:
        c = _published(preset)
    else:
        c = _published("v2-4gpus")  # the preset that the published code activates
    if preset == "smoke":
        c.model.update(resolution=16, lod_sep=3, fmap_base=32, fmap_max=4, latent_size=16)
        c.schedule.update(total_kimg=0.192, minibatch_base=16, lr={})
        c.schedule.stage_kimg = ConfigDict(dict(res8=(0.0, 0.064), res16=(0.064, 0.064)))
        c.data.num_examples = 64
        c.loss.gp_every = 1  # so that stddev groups are whole on four devices too
        c.log_every = 2
        c.gallery.update(num_heads=1, texture_size=128)
        c.evaluate.num_faces = 16
    elif preset == "benchmark":
        c.data.source = "black"
        c.schedule.update(training_kimg=3.0, transition_kimg=3.0, total_kimg=51.0)
        c.sample_kimg = c.checkpoint_kimg = 1000.0
    elif preset == "benchmark0":
        c.data.source = "black"
        c.schedule.update(initial_resolution=512, total_kimg=10.0)
        c.sample_kimg = c.checkpoint_kimg = 1000.0
    return c
