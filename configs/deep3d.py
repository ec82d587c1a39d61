"""Deep3D: one photo to a textured 3D face, trained through the renderer.

python launch/main.py --config=configs/deep3d.py --workdir=runs/deep3d

The default trains on photos of procedural faces, rendered on the fly: 64 pixels, two CPU cores,
about ten minutes. Presets (`--config=configs/deep3d.py:NAME`): smoke (seconds); the published
recipes paper-tf and paper-pytorch (R-Net), gcn (graph network on shapes, R-Net frozen) and
texture-gcn (graph network on albedo). Those want prepared photos and a face model,
--config.data.path=FOLDER --config.data.model_path=BFM_model_front.mat, and imported weights:
--config.recognition.weights, --config.model.init (launch/import_weights.py).
"""

from ml_collections import ConfigDict

from facejax.train.config import choose_preset, train_config

PRESETS = ("default", "smoke", "paper-tf", "paper-pytorch", "gcn", "texture-gcn")


def _default() -> ConfigDict:
    c = train_config(system="deep3d", log_every=100, sample_kimg=16.0, checkpoint_kimg=8.0)
    c.data = ConfigDict(
        dict(
            source="synthetic",  # 'folder' reads data.path
            path="",
            val_path="",  # such a folder that is not trained on: its losses are logged as val/...
            model="procedural",
            model_path="",
            model_options=dict(rows=64, cols=64, n_id=40, n_alb=20, draws=200, texture_size=64),
            image_size=64,
            look="plain",  # or 'head': photographs; 'people': also painted skin, hair and clothes
            num_examples=262144,
            augment=False,  # shift, scale, turn and mirror; rendered photos vary enough
            ranges=dict(  # see facejax/data/plain_photos.py; wide, for the sake of real photos
                yaw_deg=40.0,
                pitch_deg=15.0,
                roll_deg=10.0,
                brightness=0.4,
                tint=0.07,
                contrast=0.5,
                covered=0.6,
            ),
        )
    )
    c.model = ConfigDict(
        dict(depth=0, width=16, variant="compact", use_last_fc=False, pose_scale=0.2, init="")
    )
    c.recognition = ConfigDict(
        dict(
            kind="none",  # 'idnet', 'arcface' or 'facenet'
            run="",  # of kind 'idnet': its run folder, or 'auto', which trains it first
            train="idnet",  # the configuration that 'auto' trains
            weights="",  # of the other kinds: a file of facejax import_weights
            size=48,  # of a network that nobody trained
            width=16,
            features=64,
            depth=18,
        )
    )
    c.graph = ConfigDict(
        dict(
            target="shape",
            variant="resnet",
            order=3,  # 6 as published
            bottleneck=512,
            scale=1.0,
            residual=True,
            factor=4,
            levels=3,
            legacy=False,
        )
    )
    c.loss = ConfigDict(
        dict(
            # photo, gamma and reflectance have a tenth of their published weights: beside landmarks
            # that are exact, more of the photo makes the shapes worse
            photo=0.2,
            landmark=1.6e-3,
            perceptual=0.0,
            fit=1e-2,  # to the shape that the landmarks ask for; 0 as published
            landmark_focus=1.0,  # of nose and inner lips; 20 as published
            coefficients=3e-5,  # 3e-4 as published
            id=1.0,
            exp=40.0,  # blendshape weights vary by 0.16; 0.8 as published, for unit variance
            tex=0.017,
            gamma=1.0,
            reflectance=0.5,
            form="pytorch",
            inner_face="visible",  # 'separate' rasterises once more, as the originals
            graph_landmark=1.6e-3,
            graph_fit=1e-2,
            graph_shape=10.0,  # 100 as published, and 100 for the normals
            graph_normal=1.0,
            graph_photo=0.0,
            graph_perceptual=0.0,
            graph_smooth=0.0,
        )
    )
    c.texture = ConfigDict(  # of graph.target='albedo'
        dict(hidden=0.3, identity=0.2, symmetry=0.5, variance=0.01, decay=5e-4)
    )
    c.adversarial = ConfigDict(  # of graph.target='albedo': a critic of the painted photos
        dict(
            weight=0.0,  # 1e-3 as published; then the graph network takes every n-th step,
            steps=5,  # n being this: five times graph_kimg make as many of its steps
            penalty=10.0,
            norm="layer",  # 'batch' as published, see facejax/systems/deep3d/critic.py
            width=16,
        )
    )
    c.schedule = ConfigDict(
        dict(
            warmup_kimg=104.0,  # R-Net on landmarks and priors alone: no renderer
            rnet_kimg=24.0,
            graph_kimg=4.0,
            joint=False,  # train R-Net on in the graph stage
            batch_size=32,
            graph_batch_size=8,
            lr=2e-3,
            graph_lr=1e-3,
            ramp_kimg=0.5,  # the learning rate rises from zero
            # or 'step': lr_final after a share lr_step of the stage; 'linear': falls from there to
            # lr_final; or 'exponential'
            lr_decay="cosine",
            lr_final=0.02,
            lr_step=0.5,
            rendered_share=0.1,  # of the stage, until the photo counts fully for the albedo
        )
    )
    c.optim = ConfigDict(dict(b1=0.9, b2=0.999, eps=1e-8, clip_norm=1.0))  # per array; 0 for none
    c.gallery = ConfigDict(dict(num=8))
    c.evaluate = ConfigDict(
        dict(
            num_faces=256,  # rendered ones
            num_scans=4,  # of them, compared as scans too: seconds each
            aflw_path="",  # photos in the format of AFLW2000-3D
            aflw_points="",  # five points each to align them by; by default the true landmarks
        )
    )
    return c


def _published(name: str) -> ConfigDict:
    c = _default()
    c.data.update(source="folder", image_size=224)
    for key in c.data.model_options:
        c.data.model_options[key] = 0  # the full model
    variant = "torch" if name == "paper-pytorch" else "slim"
    c.model.update(depth=50, width=64, variant=variant, pose_scale=1.0)
    kind = "arcface" if name == "paper-pytorch" else "facenet"
    c.recognition = ConfigDict(
        dict(kind=kind, run="", train="idnet", weights="", size=0, width=0, features=0, depth=0)
    )  # fmt: skip
    c.graph.update(order=6, residual=False, levels=4)
    c.loss.update(
        photo=1.92, gamma=10.0, reflectance=5.0, fit=0.0, landmark_focus=20.0,
        coefficients=3e-4, exp=0.8, perceptual=0.2, inner_face="separate",
        graph_fit=0.0, graph_shape=100.0, graph_normal=100.0,
    )  # fmt: skip
    c.optim.clip_norm = 0.0
    c.loss.form = "pytorch" if name == "paper-pytorch" else "tensorflow"
    c.schedule.update(
        warmup_kimg=0.0, rnet_kimg=0.0, graph_kimg=0.0, ramp_kimg=0.0, lr=1e-4, graph_lr=1e-4,
        lr_decay="step", lr_final=0.2, graph_batch_size=16,
    )  # fmt: skip
    if name == "paper-tf":  # 200,000 steps of 16, 2e-5 after half of them
        c.schedule.update(batch_size=16, rnet_kimg=3200.0)
    elif name == "paper-pytorch":  # 20 epochs over 300,000 photos
        c.data.augment = True
        c.schedule.update(batch_size=32, rnet_kimg=6000.0)
    elif name == "gcn":  # 500,000 steps of 16, 2e-5 after 100,000 of them
        c.loss.perceptual = 0.0
        c.schedule.update(graph_kimg=8000.0, lr_step=0.2)
    else:  # 50 epochs over CelebA, 0.98 each, the photo in full after five of them
        c.graph.target = "albedo"
        c.loss.perceptual = 0.0
        c.optim.clip_norm = 5.0
        c.schedule.update(
            graph_batch_size=4, graph_kimg=8000.0, lr_decay="exponential", lr_final=0.364
        )
    c.sample_kimg = c.checkpoint_kimg = 160.0  # every 10,000 steps of 16
    c.log_every = 50
    return c


def get_config(preset: str | None = None) -> ConfigDict:
    """The config of a preset.

    Raises:
      ValueError: an unknown preset.
    """
    preset = choose_preset(preset, PRESETS)
    if preset not in ("default", "smoke"):
        return _published(preset)
    c = _default()
    if preset == "smoke":
        c.data.update(image_size=32, num_examples=64)
        c.data.model_options.update(rows=32, cols=32, n_id=4, n_alb=2, draws=16, texture_size=8)
        c.model.width = 4
        c.recognition.train = "idnet:smoke"
        c.graph.update(levels=2, order=2)
        c.schedule.update(
            warmup_kimg=0.016, rnet_kimg=0.016, graph_kimg=0.016, batch_size=8, graph_batch_size=8
        )
        c.log_every = 2
        c.gallery.num = 2
        c.evaluate.update(num_faces=4, num_scans=1)
    return c
