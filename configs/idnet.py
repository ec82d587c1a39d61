"""Identity embeddings: a small recognition network on synthetic people, for deep3d's perceptual
loss.

python launch/main.py --config=configs/idnet.py --workdir=runs/idnet

The default trains on rendered photos of 256 procedural people: two CPU cores, some minutes.
`--mode=evaluate` measures verification on people that were held out. Presets: smoke (seconds).
"""

from ml_collections import ConfigDict

from facejax.train.config import choose_preset, train_config

PRESETS = ("default", "smoke")


def _default() -> ConfigDict:
    c = train_config(system="idnet", log_every=100, sample_kimg=0.0, checkpoint_kimg=20.0)
    c.data = ConfigDict(
        dict(
            model="procedural",
            model_path="",
            model_options=dict(rows=64, cols=64, n_id=40, n_alb=20, draws=200, texture_size=64),
            image_size=64,
            look="plain",  # or 'head': photographs; 'people': also painted skin, hair and clothes
            num_examples=65536,
            num_identities=256,
            ranges=dict(yaw_deg=35.0, pitch_deg=15.0, roll_deg=10.0),
        )
    )
    c.model = ConfigDict(dict(size=48, width=16, features=64, depth=18))
    c.loss = ConfigDict(dict(margin_kind="cosface", margin=0.2, scale=16.0))
    c.schedule = ConfigDict(dict(batch_size=64, lr=0.003, ramp_kimg=2.0, total_kimg=100.0))
    c.optim = ConfigDict(dict(b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0))
    c.evaluate = ConfigDict(dict(num_identities=128, photos_each=4, seed=1))
    return c


def get_config(preset: str | None = None) -> ConfigDict:
    """The config of a preset.

    Raises:
      ValueError: an unknown preset.
    """
    preset = choose_preset(preset, PRESETS)
    c = _default()
    if preset == "smoke":
        c.data.update(image_size=32, num_examples=32, num_identities=8)
        c.data.model_options.update(rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)
        c.model.update(size=32, width=4, features=8, depth=10)
        c.schedule.update(batch_size=8, total_kimg=0.032)
        c.log_every = 2
        c.evaluate.update(num_identities=4, photos_each=2)
    return c
