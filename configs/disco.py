"""DiscoFaceGAN: pictures of faces whose identity, expression, pose and light are set one by one.

python launch/main.py --config=configs/disco.py --workdir=runs/disco

The default learns from rendered photographs of procedural faces: 64 pixels, two CPU cores. It needs
a run of deep3d and one of idnet on the same face model, and trains both first where they are not at
hand. Presets (`--config=configs/disco.py:NAME`): smoke (seconds); paper and 4gpus (256 pixels, the
published schedule); contrast (the second stage alone, from a run of the first:
--config.init_from=RUN:vae,parser,gen,disc --config.init_with=ema).
"""

from ml_collections import ConfigDict

from facejax.systems.disco.schedule import CONTRAST_KIMG, PUBLISHED
from facejax.train.config import choose_preset, train_config

PRESETS = ("default", "smoke", "paper", "4gpus", "contrast")


def _default() -> ConfigDict:
    c = train_config(system="disco")
    c.data = ConfigDict(
        dict(
            source="synthetic",  # 'tfrecords' reads data.path
            path="",
            coefficients="",  # .npy or folder of .mat files that the autoencoders learn from
            model="procedural",
            model_path="",
            model_options=dict(rows=64, cols=64, n_id=40, n_alb=20, draws=200, texture_size=64),
            num_examples=65536,
            num_coefficients=16384,  # of random faces, where there are no others
            ranges=dict(  # see facejax/data/synthetic_photos.py
                yaw_deg=30.0, pitch_deg=15.0, roll_deg=4.0, brightness=0.3, tint=0.05, contrast=0.5
            ),
        )
    )
    c.model = ConfigDict(
        dict(
            resolution=64,
            noise=16,  # numbers that explain what coefficients do not
            dlatent_size=96,
            mapping_layers=4,
            mapping_fmaps=96,
            mapping_lrmul=0.01,
            fmap_base=1024,
            fmap_decay=1.0,
            fmap_max=64,
            mbstd_group=4,
            mbstd_strided=False,
        )
    )
    c.vae = ConfigDict(
        dict(
            kimg=150.0,  # thousand rows of coefficients
            batch_size=64,
            lr=1e-3,
            lr_halved_kimg=50.0,
            z_id=60,
            z_exp=16,
            z_rot=3,
            z_gamma=12,
            hidden_id=128,
            hidden_exp=96,
            hidden_rot=32,
            hidden_gamma=64,
            cross_entropy=False,
            weights="",  # published autoencoders, comma-separated; kimg=0 keeps them as they are
        )
    )
    c.parser = ConfigDict(dict(kimg=12.0, batch_size=16, lr=2e-3, width=8))
    c.regression = ConfigDict(
        dict(
            run="auto",  # folder of a deep3d run; 'auto' trains one first
            train="deep3d",  # the configuration that 'auto' trains
            weights="",  # or an R-Net of facejax import_weights
            size=64,  # of a network that nobody trained
            width=16,
            depth=0,
            variant="compact",
        )
    )
    c.recognition = ConfigDict(
        dict(
            kind="idnet",  # or 'facenet', 'arcface', 'none'
            run="auto",  # of kind 'idnet': its run folder; 'auto' trains one first
            train="idnet",
            weights="",  # of the other kinds: a file of facejax import_weights
            size=48,  # of a network that nobody trained
            width=16,
            features=64,
            depth=18,
        )
    )
    c.loss = ConfigDict(
        dict(
            r1_gamma=10.0,
            color=20.0,  # up to so many pixels; the next four above
            color_until=32,
            identity=3.0,
            landmark=500.0,
            landmark_contrast=100.0,  # in place of it in the second stage
            light=10.0,
            skin=20.0,
            expression_change=10.0,
            light_change=10.0,
            hair=1.0,  # these three within light_change
            same_identity=2.0,
            same_landmarks=1000.0,
            twice_real=True,
        )
    )
    c.schedule = ConfigDict(
        dict(
            initial_resolution=8,
            training_kimg=8.0,
            transition_kimg=8.0,
            stage_kimg=dict(res8=(0.0, 12.0), res16=(8.0, 12.0), res32=(8.0, 16.0)),
            total_kimg=100.0,  # of the first stage
            contrast_kimg=16.0,  # of the second one, at the last resolution
            minibatch_base=16,
            minibatch={},
            max_minibatch_per_device={},
            num_devices=1,
            lr_base=0.002,
            lr={},
            lr_decay_fraction=0.0,
            lr_final=1.0,
            reset_optimizer=True,
        )
    )
    c.optim = ConfigDict(dict(b1=0.0, b2=0.99, eps=1e-8))
    c.ema = ConfigDict(dict(decay=0.999, half_life_kimg=2.0, ramp=0.2))
    c.gallery = ConfigDict(dict(num=8, seed=1, rows=4, columns=7))
    c.evaluate = ConfigDict(dict(num_faces=256, sets=16, set_size=8, seed=1))
    return c


def _published(num_devices: int) -> ConfigDict:
    c = _default()
    c.data.source = "tfrecords"
    for key in c.data.model_options:
        c.data.model_options[key] = 0  # the full model
    c.model.update(
        resolution=256, noise=32, dlatent_size=512, mapping_layers=8, mapping_fmaps=512,
        fmap_base=8192, fmap_max=512,
    )  # fmt: skip
    c.vae.update(  # 400 epochs of 70,000 photos, halved every 150
        kimg=28000.0, lr=1e-4, lr_halved_kimg=10500.0, z_id=128, z_exp=32, z_gamma=16,
        hidden_id=512, hidden_exp=256, hidden_gamma=128,
    )  # fmt: skip
    c.parser.update(kimg=400.0, width=32)
    c.regression.update(run="", size=224, width=64, depth=50, variant="slim")
    c.recognition = ConfigDict(
        dict(kind="facenet", run="", train="idnet", weights="", size=0, width=0, features=0,
             depth=0)
    )  # fmt: skip
    by_resolution = ("minibatch", "lr")
    fields = {
        k: {f"res{r}": x for r, x in v.items()} if k in by_resolution else v
        for k, v in PUBLISHED.items()
    }
    c.schedule = ConfigDict(dict(c.schedule) | dict(stage_kimg={}) | fields)
    c.schedule.update(contrast_kimg=CONTRAST_KIMG, num_devices=num_devices)
    c.ema.update(half_life_kimg=10.0, ramp=0.0)
    c.sample_kimg = c.checkpoint_kimg = 400.0  # ten ticks at 256 pixels
    return c


def get_config(preset: str | None = None) -> ConfigDict:
    """The config of a preset.

    Raises:
      ValueError: an unknown preset.
    """
    preset = choose_preset(preset, PRESETS)
    if preset in ("paper", "4gpus"):
        return _published(4 if preset == "4gpus" else 1)
    c = _default()
    if preset == "contrast":
        c.vae.kimg = c.parser.kimg = c.schedule.total_kimg = 0.0
    elif preset == "smoke":
        c.data.update(num_examples=64, num_coefficients=256)
        c.data.model_options.update(rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)
        c.model.update(
            resolution=16, noise=4, dlatent_size=16, mapping_layers=2, mapping_fmaps=16,
            fmap_base=64, fmap_max=8,
        )  # fmt: skip
        c.vae.update(
            kimg=0.032, batch_size=16, z_id=4, z_exp=4, z_gamma=4, hidden_id=16, hidden_exp=16,
            hidden_rot=8, hidden_gamma=16,
        )  # fmt: skip
        c.parser.update(kimg=0.032, width=4)
        c.regression.update(run="", size=32, width=4)
        c.recognition.update(run="", size=32, width=4, features=8)
        c.loss.color_until = 8
        c.schedule.update(total_kimg=0.096, contrast_kimg=0.032)
        c.schedule.stage_kimg = ConfigDict(dict(res8=(0.0, 0.032), res16=(0.032, 0.032)))
        c.log_every = 2
        c.gallery.update(num=2, rows=2, columns=3)
        c.evaluate.update(num_faces=16, sets=2, set_size=3)
    return c
