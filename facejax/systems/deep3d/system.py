"""Deep3D as a system of the trainer: R-Net through the renderer, then a graph network."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from facejax import losses as face_losses
from facejax.data.augment import random_affine, transform_landmarks, warp
from facejax.data.models import model_of
from facejax.data.synthetic_photos import example_shapes
from facejax.host.shell import command_line
from facejax.morphable.hierarchy import cached_hierarchy
from facejax.nn.init import only_shapes
from facejax.nn.keys import example_keys
from facejax.nn.precision import cast, check_dtype, uncast
from facejax.pretrained.recognition import Recognizer, make_recognizer, recognizer_weights
from facejax.recon.decoder import (
    Deep3DCamera,
    Reconstruction,
    assemble,
    decode,
    num_coefficients,
    split,
)
from facejax.recon.graph_net import GraphNet
from facejax.recon.rnet import RNet
from facejax.systems.deep3d import (
    albedo,
    critic,
    data,
    losses,
    networks,
    schedule,
    texture,
)
from facejax.train.optim import adam, clip_each_norm
from facejax.train.schedules import LrDecay
from facejax.train.system import Frozen, Phase, Plan, Prerequisite, Stage


class Deep3DSystem:
    """See facejax/train/system.py for what each method is asked for.

    Parameter groups: 'rnet', 'graph' where the schedule trains a graph network, and 'critic' in its
    adversarial variant. `aux` holds R-Net's running statistics 'rnet_stats'. Frozen are
    'face_model', 'hierarchy' where there is a graph network, and 'recognition', the weights of the
    recogniser. All of them by name are the `trees` below.
    """

    ema_groups = ()

    def __init__(self, config):
        self.config = config
        check_dtype(config.dtype)
        self.loss = losses.LossConfig(**config.loss)
        self.camera = Deep3DCamera().resized(config.data.image_size)
        s = config.schedule
        self.has_graph = s.graph_kimg > 0
        self.total_images = round(1000 * (s.warmup_kimg + s.rnet_kimg + s.graph_kimg))
        self.lr_decay = LrDecay(s.lr_decay, s.lr_final, s.lr_step, s.ramp_kimg)
        self.adversarial = critic.AdversarialConfig(**config.get("adversarial", {}))
        if self.adversarial.weight and (config.graph.target != "albedo" or s.joint):
            raise ValueError(
                "adversarial.weight needs graph.target='albedo' and schedule.joint=False: the "
                "critic judges the albedo of a frozen R-Net's face; change them, or set it to 0"
            )
        recognised = self.loss.perceptual or self.loss.graph_perceptual
        if recognised and config.recognition.kind == "none":
            raise ValueError(
                "loss.perceptual needs a recogniser: set --config.recognition.kind=idnet, or the "
                "weight to 0"
            )

    # ---- parts -----------------------------------------------------------------------------------

    @functools.cached_property
    def model(self):
        """The face model."""
        return model_of(self.config.data, on_host=True)

    @functools.cached_property
    def rnet(self) -> RNet:
        """The regressor for this face model."""
        return networks.make_rnet(self.config, self.model)

    @property
    def rnet_size(self) -> int:
        """Length of the coefficient vector."""
        return num_coefficients(self.model)

    @functools.cached_property
    def graph_net(self) -> GraphNet:
        """The graph network for this face model's mesh."""
        return networks.make_graph_net(self.config)

    @functools.cached_property
    def hierarchy(self):
        """The mesh at several resolutions."""
        c = self.config.graph
        return cached_hierarchy(self.model, c.factor, c.levels, c.legacy)

    @functools.cached_property
    def critic_net(self) -> critic.ImageCritic:
        """The critic of the adversarial variant."""
        return networks.make_critic(self.adversarial)

    @functools.cached_property
    def recognizer(self) -> Recognizer | None:
        """The recognition network, or None."""
        return make_recognizer(self.config)

    @functools.cached_property
    def _source(self):
        return data.make_source(self.config, self.model)

    @functools.cached_property
    def val_source(self):
        """The photos of `data.val_path`, or None."""
        return data.make_val_source(self.config)

    def source(self, stage: Stage | None = None):
        """The examples: 'image', 'landmarks', 'mask', and 'coeffs' where they are known."""
        del stage
        _ = self.val_source  # what is wrong with it shows before training
        return self._source

    def held_out(self, num: int):
        """Synthetic photos of `num` faces that training does not see."""
        return data.held_out_photos(self.config, self.model, num)

    # ---- training --------------------------------------------------------------------------------

    def init(self, seed: int):
        """Parameters, and R-Net's running statistics."""
        weights, size = self.config.model.init, self.camera.size
        rnet, stats = networks.initial_regressor(self.rnet, seed, weights, size)
        params, aux = {"rnet": rnet}, {"rnet_stats": stats}
        if self.has_graph:
            pooled = self.rnet.num_features
            if self.recognizer:
                pooled += self.recognizer.num_pooled
            params["graph"] = networks.initial_graph(
                self.graph_net, seed + 1, self.hierarchy, pooled
            )
        if self.has_graph and self.adversarial.weight:
            params["critic"] = critic.init_critic(self.critic_net, seed + 3, self.camera.size)
        return params, aux

    def frozen(self) -> dict[str, Frozen]:
        """The face model, its mesh at several resolutions, and the recogniser."""
        return self._make_frozen() if only_shapes() else self._frozen

    @functools.cached_property
    def _frozen(self) -> dict[str, Frozen]:
        return self._make_frozen()

    def _make_frozen(self) -> dict[str, Frozen]:
        topology = self.model.topology
        origin = f"the face model {topology.name} ({topology.digest})"
        found = {"face_model": Frozen(self.model, origin)}
        if self.has_graph:
            found["hierarchy"] = Frozen(self.hierarchy.split(), origin)
        if self.recognizer:
            seed = self.config.seed + 2
            found["recognition"] = recognizer_weights(self.config, self.recognizer, seed)
        return found

    def optimizer(self, group: str) -> optax.GradientTransformation:
        """Adam; every array's gradient is clipped where the config asks for it.

        The critic has the moments that Gulrajani et al. 2017 advise, and is not clipped.
        """
        c = self.config.optim
        if group == "critic":
            return adam(0.0, 0.9, c.eps)
        steps = [clip_each_norm(c.clip_norm)] if c.clip_norm else []
        return optax.chain(*steps, adam(c.b1, c.b2, c.eps))

    def plan(self, images_seen: int) -> Plan:
        """Stage, optimiser segment and learning rate of the next step."""
        s = self.config.schedule
        name, start, end = schedule.stage_of(s, images_seen)
        segment = "graph" if name == "graph" else "rnet"
        images, length = images_seen - start, end - start
        batch_size, groups, scalars = s.batch_size, (segment,), {}
        if name == "graph":
            batch_size = s.graph_batch_size
            if self.config.graph.target == "albedo":
                scalars["rendered"] = schedule.photo_share(s, images, length)
            if s.joint:
                name, groups = "joint", ("rnet", "graph")
            elif self.adversarial.weight and scalars["rendered"]:
                name, groups = "adversarial", ("critic", "graph")
        factor = self.lr_decay.at(images, length, batch_size)
        rates = {"rnet": s.lr, "graph": s.graph_lr, "critic": s.graph_lr}
        scalars |= {f"lr/{g}": rates[g] * factor for g in groups}
        return Plan(Stage(name, batch_size), segment, scalars)

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """R-Net without and with the renderer, the graph network, or both."""
        rnet = Phase("rnet", "rnet", functools.partial(self._rnet_loss, stage.name != "warmup"))
        if stage.name in ("warmup", "rnet"):
            return (rnet,)
        if self.graph_net.target == "shape":
            graph = Phase("graph", "graph", self._shape_loss)
        else:
            weight = self.adversarial.weight if stage.name == "adversarial" else 0.0
            loss = functools.partial(albedo.albedo_loss, self, weight)
            every = self.adversarial.steps if weight else 1
            graph = Phase("graph", "graph", loss, every=every)
        if stage.name == "adversarial":
            return (Phase("critic", "critic", functools.partial(albedo.critic_loss, self)), graph)
        return (rnet, graph) if stage.name == "joint" else (graph,)

    def augmented(self, batch, rng):
        """A batch of shifted, scaled, turned and mirrored photos where the config asks for it."""
        if not self.config.data.augment:
            return batch
        size = self.camera.size
        keys = example_keys(rng, batch["index"])
        matrix, flip = jax.vmap(lambda k: random_affine(k, size=size))(keys)
        picture = jnp.concatenate([batch["image"], batch["mask"][..., None]], axis=-1)
        picture = jnp.clip(warp(picture, matrix), 0.0, 1.0)
        landmarks = transform_landmarks(batch["landmarks"], matrix, flip, size)
        moved = {"image": picture[..., :3], "mask": picture[..., 3], "landmarks": landmarks}
        return {k: v for k, v in batch.items() if k != "coeffs"} | moved

    def _rnet_loss(self, rendered, params, inputs):
        batch, trees = self.augmented(inputs.batch, inputs.rng), inputs.trees(params)
        model, dtype = trees["face_model"], self.config.dtype
        variables = {
            "params": cast(trees["rnet"], dtype), "batch_stats": trees["rnet_stats"]
        }  # fmt: skip
        image = cast(self.network_image(batch["image"]), dtype)
        (vector, _), new = self.rnet.apply(variables, image, True, mutable=["batch_stats"])
        vector = uncast(vector)
        coeffs = split(vector, model)
        face = decode(model, coeffs, self.camera)
        terms = self.rnet_terms(trees, face, coeffs, batch, rendered)
        if "coeffs" in batch:
            yaw = jnp.abs(vector - batch["coeffs"])[:, self._yaw_column]
            terms["yaw_deg"] = jnp.rad2deg(jnp.mean(yaw))
        stats = {"rnet_stats": new.get("batch_stats", {})}
        return losses.weighted_sum(terms, self.loss), (terms, stats)

    @property
    def _yaw_column(self) -> int:
        return self.model.num_id + self.model.num_exp + self.model.num_alb + 1

    def network_image(self, image: jax.Array) -> jax.Array:
        """What R-Net takes: RGB in [0, 1], or BGR in [0, 255] for the TensorFlow variant."""
        return 255.0 * image[..., ::-1] if self.rnet.variant == "slim" else image

    def rnet_terms(self, trees, face, coeffs, batch, rendered: bool = True):
        """All terms of R-Net's loss, those of the render as far as asked for."""
        marks, size, cfg, model = (
            batch["landmarks"],
            self.camera.size,
            self.loss,
            trees["face_model"],
        )
        terms = losses.landmark_terms(face, marks, size, cfg.landmark_focus)
        terms |= losses.fit_terms(model, face, coeffs, marks, size, cfg, cfg.fit)
        terms |= losses.prior_terms(model, coeffs, face, cfg)
        if rendered:
            terms |= self.rendered_terms(trees, face, batch, cfg.photo, cfg.perceptual)
        return terms

    def rendered_terms(self, trees, face, batch, photo: float, perceptual: float):
        """'photo' and 'perceptual', as far as they have a weight."""
        terms = {}
        if photo or perceptual:
            picture, inner = losses.render_with_inner(
                trees["face_model"], face, self.camera, self.loss
            )
        if photo:
            terms["photo"] = losses.photo_term(
                picture, batch["image"], batch["mask"], inner, self.loss
            )
        if perceptual:
            recognize = functools.partial(self.recognize, trees)
            got, _ = recognize(picture, lax.stop_gradient(face.landmarks_px))
            wanted, _ = recognize(batch["image"], batch["landmarks"])
            terms["perceptual"] = face_losses.perceptual(
                got, lax.stop_gradient(wanted), self.loss.form
            )
        return terms

    def recognize(self, trees, image, landmarks) -> tuple[jax.Array, jax.Array]:
        """The recogniser's features and pooled features of photos, see `Recognizer`."""
        found = self.recognizer(
            cast(trees["recognition"], self.config.dtype), cast(image, self.config.dtype), landmarks
        )
        return uncast(found)

    def regress(self, trees, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """R-Net as it is used: coefficients [B, n] and its pooled features, of [B, S, S, 3]."""
        stats = trees.get("rnet_stats", {})  # a network without any leaves no entry in checkpoints
        variables = {"params": cast(trees["rnet"], self.config.dtype), "batch_stats": stats}
        return uncast(
            self.rnet.apply(variables, cast(self.network_image(image), self.config.dtype))
        )

    def refine(self, trees, image, coeffs, face, pooled, skin=None):
        """The face with the graph network's vertices or albedo.

        Args:
          trees: with 'graph', 'hierarchy', 'face_model' and, where there is one, 'recognition'.
          image: [B, S, S, 3] in [0, 1].
          coeffs: `Coefficients` of R-Net.
          face: decoded from them.
          pooled: R-Net's features.
          skin: [B, S, S] posterior for the albedo; None computes it.
        """
        embedding = pooled
        if self.recognizer:
            _, features = self.recognize(trees, image, face.landmarks_px)
            embedding = jnp.concatenate([pooled, features], axis=-1)
        embedding, coeffs, face = lax.stop_gradient((embedding, coeffs, face))
        net = functools.partial(self._graph, trees, embedding)
        if self.graph_net.target == "shape":
            shape, albedo = net(face.shape), face.albedo
        else:
            seen = texture.visible_colors(image, face, self.camera.size, skin)
            values = jnp.concatenate([2 * face.albedo - 1, seen], axis=-1)
            shape, albedo = face.shape, (net(values) + 1) / 2
        return assemble(trees["face_model"], shape, albedo, coeffs, self.camera)

    def _graph(self, trees, embedding, values):
        dtype = self.config.dtype
        variables = {"params": cast(trees["graph"], dtype)}
        return uncast(
            self.graph_net.apply(variables, *cast((embedding, values, trees["hierarchy"]), dtype))
        )

    def refined(self, trees, batch):
        """(face with the graph network's mesh, linear face, its coefficients); R-Net is frozen."""
        model = trees["face_model"]
        vector, pooled = self.regress(trees, batch["image"])
        coeffs = split(vector, model)
        linear = decode(model, coeffs, self.camera)
        arguments = (batch["image"], coeffs, linear, pooled, batch["mask"])
        return self.refine(trees, *arguments), linear, coeffs

    def _shape_loss(self, params, inputs):
        batch, trees = self.augmented(inputs.batch, inputs.rng), inputs.trees(params)
        cfg, size, model = self.loss, self.camera.size, trees["face_model"]
        face, linear, coeffs = self.refined(trees, batch)
        marks = batch["landmarks"]
        terms = losses.landmark_terms(face, marks, size, cfg.landmark_focus)
        terms |= losses.fit_terms(model, face, coeffs, marks, size, cfg, cfg.graph_fit)
        terms["linear_nme"] = losses.landmark_terms(linear, marks, size)["nme"]
        terms |= losses.graph_terms(face, linear, model.topology.mesh, cfg)
        terms |= self.rendered_terms(trees, face, batch, cfg.graph_photo, cfg.graph_perceptual)
        return losses.weighted_sum(terms, cfg, "graph_"), (terms, {})

    @functools.cached_property
    def mirror(self) -> np.ndarray:
        """See `texture.mirror_pairs`."""
        return texture.mirror_pairs(self.model)

    # ---- use -------------------------------------------------------------------------------------

    def example_shapes(self, stage: Stage) -> dict[str, jax.ShapeDtypeStruct]:
        """What `facejax.data.synthetic_photos.example_shapes` says; photos have fewer."""
        shapes = example_shapes(self.model, self.camera.size, stage.batch_size)
        if self.config.data.source == "synthetic":
            return shapes
        return {name: shapes[name] for name in ("image", "landmarks", "mask")}

    def predict(self, params: dict[str, Any], image: jax.Array) -> Reconstruction:
        """Faces of photo crops; pure, to be jitted by the caller.

        Args:
          params: see `facejax.train.system.System`.
          image: [B, S, S, 3] in [0, 1], S = data.image_size.
        """
        vector, pooled = self.regress(params, image)
        coeffs = split(vector, params["face_model"])
        face = decode(params["face_model"], coeffs, self.camera)
        refined = None
        if self.has_graph:
            refined = self.refine(params, image, coeffs, face, pooled)
        return Reconstruction(vector, face, refined)

    def predict_inputs(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Photo crops."""
        size = self.camera.size
        return (jax.ShapeDtypeStruct((batch_size, size, size, 3), np.float32),)

    @functools.cached_property
    def gallery(self):
        """Pictures (made on first use)."""
        from facejax.systems.deep3d.gallery import Gallery

        return Gallery(self)

    def samples(self, params, plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Held-out photos with what was reconstructed from them."""
        del plan, step
        return {"strip": self.gallery.strip(params)}

    @functools.cached_property
    def _validation(self):
        from facejax.systems.deep3d.validation import Validation

        return Validation(self)

    def validation(self, params) -> dict[str, float]:
        """Loss terms of the photos of `data.val_path`."""
        return self._validation(params) if self.val_source else {}

    def histograms(self, params, plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Coefficients that R-Net finds in the photos of the strip."""
        del plan, step
        return {f"coeffs/{k}": v for k, v in self.gallery.coefficients(params).items()}

    def describe(self) -> list[dict[str, Any]]:
        """One row per stage."""
        s = self.config.schedule
        rows = []
        graph = "graph, adversarial" if self.adversarial.weight else "graph"
        graph = "joint" if s.joint else graph
        for name, kimg, batch in (
            ("warmup", s.warmup_kimg, s.batch_size),
            ("rnet", s.rnet_kimg, s.batch_size),
            (graph, s.graph_kimg, s.graph_batch_size),
        ):
            if kimg:
                steps = -(-round(1000 * kimg) // batch)
                rows.append({"stage": name, "batch": batch, "kimg": kimg, "steps": steps})
        return rows

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """Where to look and what to type next."""
        curves = command_line("tensorboard", "--logdir", workdir)
        return [
            f"Pictures:  {workdir / 'samples'}   curves: {curves}",
            f"Measure:   {command_line('facejax', 'evaluate', f'--workdir={workdir}')}",
        ]

    def evaluate(self, params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Landmarks, pose, shape and coefficients of held-out faces, before and after."""
        from facejax.systems.deep3d.metrics import evaluate

        del meta
        return evaluate(self, params, workdir)


def prerequisites(config) -> tuple[Prerequisite, ...]:
    """The recogniser's run, trained on people of the same face model where 'auto' asks for it."""
    c = config.recognition
    same = {f"data.{k}": config.data[k] for k in ("model", "model_path")}
    same |= {f"data.model_options.{k}": v for k, v in config.data.model_options.items()}
    return (Prerequisite("recognition", "recognition.run", c.train, same),)


def make_system(config) -> Deep3DSystem:
    """The system of a resolved config (configs/deep3d.py)."""
    return Deep3DSystem(config)
