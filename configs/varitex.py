"""VariTex: variational neural face textures. Sample an identity, pose and express it freely.

python launch/main.py --config=configs/varitex.py --workdir=runs/varitex

The default trains on rendered heads of the procedural model at 64 px: two CPU cores.
Presets (`--config=configs/varitex.py:NAME`): smoke (seconds) and paper (256 px on photos that were
prepared as published: --config.data.path=FOLDER --config.data.image_folder=FOLDER).
"""

from ml_collections import ConfigDict

from facejax.train.config import choose_preset, train_config

PRESETS = ("default", "smoke", "paper")


def _default() -> ConfigDict:
    c = train_config(system="varitex", log_every=50, sample_kimg=2.0, checkpoint_kimg=2.0)
    c.data = ConfigDict(
        dict(
            source="rendered",  # 'prepared' reads data.path
            model="procedural",
            model_path="",
            model_options=dict(rows=64, cols=64, n_id=40, n_alb=20, draws=200, texture_size=16),
            num_examples=65536,
            num_identities=1024,
            ranges=dict(
                yaw_deg=35.0, pitch_deg=15.0, roll_deg=5.0, depth=60.0, shift=0.5,
                depth_shift=2.0, id_scale=1.0, exp_scale=1.0, alb_scale=1.0, brightness=0.15,
                tint=0.02, contrast=0.15,
            ),
            # of the target, never of the encoded image; '': without the pose-independence scheme
            transforms="all",
            background="black",  # 'min' (as published), 'gray'; 'keep' with prepared photos
            v_up=False,  # v = -1 at the bottom of textures, as published
            # of prepared photos
            path="",
            image_folder="",
            split="train",
            views=64,  # augmentations of each photo
            load_size=512,
            regions=tuple(range(1, 16)),
            uv_resize="nearest",
            mask_resize="nearest",
            uv_quantize=False,
        )
    )  # fmt: skip
    c.model = ConfigDict(
        dict(
            image_size=64, texture_size=64, texture_channels=8, latent=64, width=16, blocks=2,
            unet_features=16, unet_levels=4, mask_value=0.0,
        )
    )  # fmt: skip
    c.discriminator = ConfigDict(dict(width=16, layers=3, scales=2))
    c.loss = ConfigDict(
        dict(
            gan_mode="ls", kl_direction="prior_posterior", gan=1.0, gan_features=1.0, l2=1.0,
            kl=0.1, vgg=2.0, segmentation=1.0, rgb_texture=0.0,
        )
    )  # fmt: skip
    c.vgg = ConfigDict(dict(width=8, levels=4, weights="", seed=0))  # '': random features
    c.schedule = ConfigDict(dict(batch_size=8, lr=0.001, lr_discriminator=0.001, total_kimg=24.0))
    c.optim = ConfigDict(dict(b1=0.9, b2=0.999, eps=1e-8))
    c.evaluate = ConfigDict(dict(num=256, yaw_deg=30.0, seed=1))
    c.gallery = ConfigDict(dict(num=4))
    return c


def get_config(preset: str | None = None) -> ConfigDict:
    """The config of a preset.

    Raises:
      ValueError: an unknown preset.
    """
    preset = choose_preset(preset, PRESETS)
    c = _default()
    if preset == "smoke":
        c.data.update(num_examples=32, num_identities=8)
        c.data.model_options.update(rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)
        c.model.update(
            image_size=32, texture_size=32, texture_channels=3, latent=8, width=2, blocks=1,
            unet_features=2, unet_levels=2,
        )  # fmt: skip
        c.discriminator.update(width=2, layers=2)
        c.vgg.update(width=2, levels=3)
        c.schedule.update(batch_size=8, total_kimg=0.048)
        # biases in front of batch normalisation have gradients of round-off alone, which Adam would
        # make steps of: runs on other numbers of devices would part
        c.optim.eps = 1e-4
        c.log_every = 2
        c.evaluate.update(num=8)
        c.gallery.num = 2
    elif preset == "paper":
        c.data.update(
            source="prepared", background="min", v_up=True, uv_resize="bilinear",
            mask_resize="bilinear", uv_quantize=True,
        )  # fmt: skip
        c.model.update(
            image_size=256, texture_size=256, texture_channels=16, latent=256, width=64,
            unet_features=64, unet_levels=5,
        )  # fmt: skip
        c.discriminator.update(width=64, layers=4)
        c.vgg.update(width=64, levels=5)
        # 44 epochs of 59,991 photos
        c.schedule.update(batch_size=7, total_kimg=44 * 59.991)
        c.checkpoint_kimg, c.sample_kimg = 60.0, 7.0
    return c
