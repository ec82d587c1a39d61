"""DiscoFaceGAN as a system of the trainer: autoencoders, hair parser, both stages of the GAN."""

import dataclasses
import functools
import logging
import math
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.data.models import model_of
from facejax.host.shell import command_line
from facejax.image.resample import resize_legacy
from facejax.losses.adversarial import logistic_generator
from facejax.nn.equalized import fade_reals
from facejax.nn.init import only_shapes
from facejax.nn.keys import example_keys, example_normals
from facejax.nn.precision import cast, check_dtype, uncast
from facejax.pretrained.recognition import make_recognizer, recognizer_weights
from facejax.pretrained.regression import make_regressor, regressor_weights
from facejax.recon.decoder import Deep3DCamera, decode_landmarks, split
from facejax.systems.disco import data, losses, networks, parser, render, vae
from facejax.systems.disco.factors import (
    Factors,
    FactorSizes,
    join_coefficients,
    split_coefficients,
    split_latents,
)
from facejax.systems.disco.importer import load_vaes
from facejax.train.optim import adam
from facejax.train.schedules import EmaSchedule, ProgressiveSchedule
from facejax.train.system import Frozen, Phase, Plan, Prerequisite, Stage

_log = logging.getLogger(__name__)
CONTRAST = "contrast"  # the second stage's name is RxR-contrast
_PAIRS = 4  # examples of a pair that differs in expression and of one that differs in light
_FACENET_SIZE = 160


class Generated(NamedTuple):
    """What the generator makes.

    Attributes:
      image: [B, r, r, 3] in [-1, 1], about: not clipped.
    """

    image: jax.Array


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """What a batch of fakes is made of.

    Attributes:
      factors: coefficients, [B, n] each.
      noise: [B, n], what else there is to see.
      keys: [B] of the noise maps.
    """

    factors: Factors
    noise: jax.Array
    keys: jax.Array


class DiscoSystem:
    """See facejax/train/system.py for what each method is asked for.

    Parameter groups: 'vae' {factor: tree}, 'parser', 'gen' {'mapping', 'synthesis'} and 'disc'.
    `aux` holds the generator's stored noise maps, 'gen_noise'. Frozen are 'face_model',
    'regression' and, where there is one, 'recognition'. All of them by name are the `trees` below.
    """

    ema_groups = ("gen",)

    def __init__(self, config):
        self.config = config
        dtype = check_dtype(config.dtype)
        latents = {k: config.vae[k] for k in ("z_id", "z_exp", "z_rot", "z_gamma")}
        latents["noise"] = config.model.noise
        # imported networks come without a face model: their coefficients are the published ones
        self.has_face = config.data.model != "none"
        self.sizes = (
            FactorSizes.of_model(self.model, **latents) if self.has_face else FactorSizes(**latents)
        )
        hidden = Factors(*(config.vae[f"hidden_{k}"] for k in Factors._fields))
        self.vaes = vae.vae_configs(self.sizes, hidden)
        fields = {k: v for k, v in config.model.items() if k != "noise"}
        self.net = networks.NetworkConfig(
            latent_size=self.sizes.num_inputs, dtype=dtype, **fields
        )  # fmt: skip
        self.loss = losses.LossConfig(**config.loss)
        self.parser = parser.Parser(parser.ParserConfig(config.parser.width))
        s = config.schedule
        self.first = {"vae": round(1000 * config.vae.kimg)}
        self.first["parser"] = round(1000 * config.parser.kimg)
        progressive = {k: v for k, v in s.items() if k != "contrast_kimg"}
        self.schedule = ProgressiveSchedule.from_config(progressive, self.net.resolution)
        self.ema = EmaSchedule(**config.ema)
        self.contrast_images = round(1000 * s.contrast_kimg)
        self.total_images = self.grown + self.contrast_images
        self._check()
        warning = self.schedule.check() if self.schedule.total_kimg else None
        if warning:
            _log.warning("%s", warning)

    @property
    def start(self) -> int:
        """Images before the generator's first step."""
        return sum(self.first.values())

    @property
    def grown(self) -> int:
        """Images before the second stage."""
        return self.start + round(1000 * self.schedule.total_kimg)

    def _check(self) -> None:
        group = self.net.mbstd_group
        for resolution in self.schedule.stages:
            n = self.schedule.batch_size(resolution)
            last = resolution == self.net.resolution
            if n < 1 or (n > group and n % group) or (last and self.contrast_images and n % _PAIRS):
                raise ValueError(
                    f"the batch of {n} at {resolution} pixels must be at most {group} or divisible "
                    f"by it (model.mbstd_group), and at the last one divisible by {_PAIRS} for the "
                    "pairs of the second stage: change schedule.minibatch"
                )
        if self.net.resolution % 4 or self.net.resolution < 8:
            raise ValueError(f"model.resolution must be at least 8, found {self.net.resolution}")

    # ---- parts -----------------------------------------------------------------------------------

    @functools.cached_property
    def model(self):
        """The face model."""
        return model_of(self.config.data, on_host=True)

    @functools.cached_property
    def _given_vaes(self) -> dict[str, dict]:
        """Autoencoders of `vae.weights`."""
        weights = self.config.vae.weights
        return load_vaes(weights, self.vaes) if weights else {}

    @functools.cached_property
    def regressor(self):
        """The network that says what a fake shows."""
        return make_regressor(self.config, self.model)

    @functools.cached_property
    def recognizer(self):
        """The network that says who a fake is, or None."""
        return make_recognizer(self.config)

    @functools.cached_property
    def _pictures(self):
        return data.make_source(self.config, self.model)

    @functools.cached_property
    def _photographs(self):
        """Rendered ones, for the parser: whatever the generator learns from."""
        c = self.config
        if c.data.source == "synthetic":
            return self._pictures
        return data.photographs(c, self.model, c.data.num_examples, c.seed)

    @functools.cached_property
    def _coefficients(self):
        return data.coefficient_source(self.config, self.model, self.sizes)

    def source(self, stage: Stage):
        """Rows of coefficients, labelled photographs, or pictures.

        Raises:
          ValueError: there is no face model, see `facejax.systems.disco.importer`; or see `data`.
        """
        if not self.has_face:
            raise ValueError(
                "data.model='none' is for imported networks, which only make pictures: name the "
                "face model to train, --config.data.model=... and --config.data.model_path=FILE"
            )
        if stage.name == "vae":
            return self._coefficients
        return self._photographs if stage.name == "parser" else self._pictures

    def example_shapes(self, stage: Stage) -> dict[str, jax.ShapeDtypeStruct]:
        """What the source of a stage makes."""
        n, static = stage.batch_size, dict(stage.static)
        f32 = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)
        if stage.name == "vae":
            return {"coeffs": f32((n, self.sizes.num_coefficients))}
        r, size = static["resolution"], self.net.resolution
        shapes = {"image": f32((n, r, r, 3))}
        if "labels" in static:
            shapes["labels"] = jax.ShapeDtypeStruct((n, size, size), np.int32)
        return shapes

    def held_out(self, num: int):
        """Rendered photographs of `num` faces that training does not see."""
        return data.held_out(self.config, self.model, num)

    # ---- training --------------------------------------------------------------------------------

    def init(self, seed: int):
        """Parameters of all networks, and the generator's stored noise maps.

        Raises:
          ValueError: something that the run would not train comes from nowhere.
        """
        if not only_shapes():
            self._check_origins()
        params = {
            "vae": {
                k: vae.init_vae(getattr(self.vaes, k), seed + 10 + i)
                for i, k in enumerate(Factors._fields)
            },
            "parser": parser.init_parser(self.parser.cfg, seed + 2),
            "gen": networks.init_generator(self.net, seed),
            "disc": networks.init_discriminator(self.net, seed + 1),
        }
        for name, tree in self._given_vaes.items():
            params["vae"][name] = params["vae"][name] | tree
        return params, {"gen_noise": networks.noise_dict(networks.init_noise(self.net, seed))}

    def _check_origins(self) -> None:
        given = set(self._given_vaes)
        missing = [k for k in Factors._fields if k not in given]
        if self.config.init_from or not self.has_face:
            return
        if not self.first["vae"] and missing:
            raise ValueError(
                f"vae.kimg is 0 and nothing gives the autoencoders of {', '.join(missing)}: set "
                "--config.vae.weights=FILE or --config.init_from=RUN:vae, or train them"
            )
        if not self.schedule.total_kimg:
            raise ValueError(
                "schedule.total_kimg is 0, which leaves the second stage alone: it starts from a "
                "finished first one, --config.init_from=RUN:vae,parser,gen,disc "
                "--config.init_with=ema"
            )

    def frozen(self) -> dict[str, Frozen]:
        """The face model, the regressor and the recogniser."""
        return self._make_frozen() if only_shapes() else self._frozen

    @functools.cached_property
    def _frozen(self) -> dict[str, Frozen]:
        return self._make_frozen()

    def _make_frozen(self) -> dict[str, Frozen]:
        if not self.has_face:
            return {}
        topology, seed = self.model.topology, self.config.seed
        origin = f"the face model {topology.name} ({topology.digest})"
        found = {
            "face_model": Frozen(self.model, origin),
            "regression": regressor_weights(self.config, self.regressor, seed + 3),
        }
        if self.recognizer:
            found["recognition"] = recognizer_weights(self.config, self.recognizer, seed + 4)
        return found

    def optimizer(self, group: str) -> optax.GradientTransformation:
        """Adam; the usual one for what is no part of the GAN."""
        c = self.config.optim
        return adam(c.b1, c.b2, c.eps) if group in ("gen", "disc") else adam(0.9, 0.999, c.eps)

    def device_batch(self, stage: Stage) -> int:
        """Groups of minibatch statistics and pairs stay on a device."""
        if stage.name in ("vae", "parser"):
            return 1
        if self.net.mbstd_strided:
            return stage.batch_size
        pairs = _PAIRS if stage.name.endswith(CONTRAST) else 1
        return math.lcm(min(self.net.mbstd_group, stage.batch_size), pairs)

    def plan(self, images_seen: int) -> Plan:
        """Stage, optimiser segments, fade, learning rates and moving average of the next step."""
        c, left = self.config, images_seen
        if left < self.first["vae"]:
            rate = c.vae.lr * 0.5 ** (left // max(round(1000 * c.vae.lr_halved_kimg), 1))
            stage = Stage("vae", c.vae.batch_size)
            return Plan(stage, {"vae": "vae"}, {"lr/vae": rate})
        left -= self.first["vae"]
        if left < self.first["parser"]:
            static = (("labels", True), ("resolution", self.net.resolution))
            stage = Stage("parser", c.parser.batch_size, static)
            return Plan(stage, {"parser": "parser"}, {"lr/parser": c.parser.lr})
        left -= self.first["parser"]
        contrast = images_seen >= self.grown
        # the second stage goes on at the last resolution, whatever the first one reached
        resolution, alpha = (self.net.resolution, 0.0) if contrast else self.schedule.position(left)
        segment = CONTRAST if contrast else self.schedule.segment(left)
        stage = self.stage(resolution, contrast)
        rate = self._rate(left, resolution)
        return Plan(
            stage,
            {"gen": segment, "disc": segment},
            {
                "lr/gen": rate,
                "lr/disc": rate,
                "ema_decay": self.ema.at(left, stage.batch_size),
                "alpha": alpha,
            },
        )

    def _rate(self, images: int, resolution: int) -> float:
        """Learning rate of the GAN; the second stage goes on at the first one's last."""
        if not self.schedule.total_kimg:
            return self.schedule.lr.get(resolution, self.schedule.lr_base)
        return self.schedule.learning_rate(images)

    def stage(self, resolution: int, contrast: bool = False) -> Stage:
        """The static stage of a resolution."""
        name = f"{resolution}x{resolution}" + (f"-{CONTRAST}" if contrast else "")
        batch_size = self.schedule.batch_size(resolution)
        return Stage(name, batch_size, (("resolution", resolution),))

    def phases(self, stage: Stage) -> tuple[Phase, ...]:
        """Autoencoders; the parser; or discriminator, moving average and generator."""
        if stage.name == "vae":
            return (Phase("vae", "vae", self._vae_loss),)
        if stage.name == "parser":
            return (Phase("parser", "parser", self._parser_loss),)
        resolution, contrast = dict(stage.static)["resolution"], stage.name.endswith(CONTRAST)
        return (
            Phase("disc", "disc", functools.partial(self._disc_loss, resolution, contrast),
                  ema=("gen",)),
            Phase("gen", "gen", functools.partial(self._gen_loss, resolution, contrast)),
        )  # fmt: skip

    def _vae_loss(self, params, inputs):
        factors = split_coefficients(inputs.batch["coeffs"], self.sizes)
        eps = example_normals(inputs.rng, inputs.batch["index"], self.sizes.num_latents)
        eps, total, metrics = split_latents(eps, self.sizes), 0.0, {}
        for name in Factors._fields:
            value, terms = vae.vae_loss(
                getattr(self.vaes, name), params["vae"][name], getattr(factors, name),
                getattr(eps, name), self.config.vae.cross_entropy, self.config.dtype,
            )  # fmt: skip
            total = total + value
            metrics |= {f"{name}_{k}": v for k, v in terms.items()} | {name: value}
        return total, (metrics, {})

    def _parser_loss(self, params, inputs):
        image = cast(losses.unit_range(inputs.batch["image"]), self.config.dtype)
        logits = uncast(
            self.parser.apply({"params": cast(params["parser"], self.config.dtype)}, image)
        )
        loss, metrics = parser.parser_loss(logits, inputs.batch["labels"])
        return loss, (metrics, {})

    # ---- fakes -----------------------------------------------------------------------------------

    def _drawn(self, params, rng, index) -> _Drawn:
        """Independent faces."""
        count = self.sizes.num_latents
        draws = example_normals(rng, index, count + self.sizes.noise)
        factors = vae.decode_latents(self.vaes, params["vae"], draws[:, :count], self.sizes)
        keys = example_keys(jax.random.fold_in(rng, 1), index)
        return _Drawn(factors, draws[:, count:], keys)

    def _drawn_pairs(self, params, rng, index) -> _Drawn:
        """Of every four: two that differ in expression alone, two that differ in light alone."""
        count, rng = self.sizes.num_latents, jax.random.fold_in(rng, 2)
        shared = example_normals(rng, index // 2, count + self.sizes.noise)
        own = example_normals(jax.random.fold_in(rng, 1), index, count)
        z, other = split_latents(shared[:, :count], self.sizes), split_latents(own, self.sizes)
        expression = (index % _PAIRS < 2)[:, None]
        z = z._replace(
            exp=jnp.where(expression, other.exp, z.exp),
            gamma=jnp.where(expression, z.gamma, other.gamma),
        )
        factors = vae.decode_factors(self.vaes, params["vae"], z)
        keys = example_keys(jax.random.fold_in(rng, 2), index)
        return _Drawn(factors, shared[:, count:], keys)

    def _fakes(self, gen, drawn: _Drawn, alpha, resolution: int) -> jax.Array:
        latents = jnp.concatenate([join_coefficients(drawn.factors), drawn.noise], axis=-1)
        stage = resolution.bit_length() - 1
        styles = networks.styles_of(self.net, gen, latents)
        noise = networks.example_noise(drawn.keys, stage)
        return networks.pictures_of(self.net, gen, styles, noise, alpha, stage)

    def _disc_loss(self, resolution, contrast, params, inputs):
        index, rng, alpha = inputs.batch["index"], inputs.rng, inputs.scalars["alpha"]
        flip = jax.vmap(jax.random.bernoulli)(example_keys(jax.random.fold_in(rng, 3), index))
        image = inputs.batch["image"]
        reals = jnp.where(flip[:, None, None, None], image[:, :, ::-1], image)
        reals = fade_reals(reals, alpha)
        drawn = [self._drawn(params, rng, index)]
        if contrast:
            drawn.append(self._drawn_pairs(params, rng, index))
        fakes = [self._fakes(params["gen"], d, alpha, resolution) for d in drawn]
        loss, metrics = losses.discriminator(
            params["disc"], reals, fakes, alpha, cfg=self.net, stage=resolution.bit_length() - 1,
            r1_gamma=self.loss.r1_gamma, real_weight=1.0 + (contrast and self.loss.twice_real),
        )  # fmt: skip
        return loss, (metrics, {})

    def _gen_loss(self, resolution, contrast, params, inputs):
        index, rng, alpha = inputs.batch["index"], inputs.rng, inputs.scalars["alpha"]
        trees, stage = inputs.trees(params), resolution.bit_length() - 1

        def made(drawn):
            fakes = self._fakes(params["gen"], drawn, alpha, resolution)
            scores = networks.scores_of(self.net, params["disc"], fakes, alpha, stage)
            return fakes, logistic_generator(scores)

        drawn = self._drawn(params, rng, index)
        fakes, loss = made(drawn)
        metrics = {"adversarial": loss}
        terms = self.imitation(trees, fakes, drawn.factors, alpha, resolution)
        weights = self._weights(contrast)
        loss = loss + sum(weights[k] * v for k, v in terms.items())
        if contrast:
            drawn = self._drawn_pairs(params, rng, index)
            fakes, adversarial = made(drawn)
            metrics["adversarial_pairs"] = adversarial
            changes, parts = self.contrast(trees, fakes, drawn.factors, resolution)
            loss = loss + adversarial + sum(weights[k] * v for k, v in changes.items())
            terms |= changes | parts
        return loss, (metrics | terms, {})

    def _weights(self, contrast: bool) -> dict[str, float]:
        weights = dataclasses.asdict(self.loss)
        if contrast:
            weights["landmark"] = self.loss.landmark_contrast
        return weights

    # ---- what fakes show -------------------------------------------------------------------------

    def regress(self, trees, image: jax.Array) -> tuple[jax.Array, Any]:
        """Landmarks [B, 68, 2] in pixels of the regressor's picture (y UP), and coefficients.

        Args:
          trees: with 'regression' and 'face_model'.
          image: [B, r, r, 3] in [0, 1].
        """
        size = self.regressor.size
        seen = resize_legacy(image, (size, size), self.net.resolution // image.shape[1])
        vector = self.regressor(trees["regression"], seen, self.config.dtype)
        coeffs = split(vector, trees["face_model"])
        marks = decode_landmarks(trees["face_model"], coeffs, Deep3DCamera().resized(size))
        return marks, coeffs

    def recognize(self, trees, image: jax.Array, marks: jax.Array) -> jax.Array:
        """Identity features [B, E].

        Args:
          trees: with 'recognition'.
          image: [B, r, r, 3] in [0, 1].
          marks: [B, 68, 2] pixels of the picture, y UP, which align it.
        """
        if self.recognizer.kind == "facenet":
            repeat = self.net.resolution // image.shape[1]
            image = resize_legacy(image, (_FACENET_SIZE, _FACENET_SIZE), repeat)
        dtype = self.config.dtype
        found = self.recognizer(cast(trees["recognition"], dtype), cast(image, dtype), marks)
        return uncast(found[0])

    def hair(self, trees, image: jax.Array) -> jax.Array:
        """[B, r, r] probability of hair in pictures [B, r, r, 3] in [0, 1]."""
        dtype = self.config.dtype
        variables = {"params": cast(jax.lax.stop_gradient(trees["parser"]), dtype)}
        return parser.hair_probability(uncast(self.parser.apply(variables, cast(image, dtype))))

    def targets(self, trees, factors: Factors, alpha, resolution: int) -> render.Targets:
        """Renders at a stage's resolution, faded like real pictures; no gradient."""
        factors = jax.lax.stop_gradient(factors)
        camera = render.camera_of(resolution)
        found = render.render_targets(trees["face_model"], factors, self.sizes, camera)
        image = fade_reals(found.image, alpha)
        mask = fade_reals(found.mask[..., None], alpha)[..., 0]
        return jax.lax.stop_gradient(render.Targets(image, mask, found.landmarks_px))

    def imitation(self, trees, fakes, factors, alpha, resolution) -> dict[str, jax.Array]:
        """The terms that make fakes look like the renders of their coefficients, by weight's name.

        Args:
          trees: with 'face_model', 'regression' and, where there is one, 'recognition'.
          fakes: [B, r, r, 3] in [-1, 1].
          factors: their coefficients.
          alpha: of the fade.
          resolution: r.
        """
        cfg = self.loss
        targets = self.targets(trees, factors, alpha, resolution)
        if resolution <= cfg.color_until:
            if not cfg.color:
                return {}
            return {"color": losses.color_distance(fakes, targets.image, targets.mask)}
        terms, image = {}, losses.unit_range(fakes)
        if cfg.skin:
            terms["skin"] = losses.skin_color(fakes, targets.image, targets.mask)
        if cfg.landmark or cfg.landmark_contrast or cfg.light:
            size = self.regressor.size
            marks, coeffs = self.regress(trees, image)
            wanted = targets.landmarks_px * (size / resolution)
            terms["landmark"] = losses.landmarks(marks, wanted, size)
            terms["light"] = losses.light(coeffs.gamma, jax.lax.stop_gradient(factors.gamma))
        if cfg.identity and self.recognizer:
            marks = targets.landmarks_px
            found = self.recognize(trees, image * targets.mask[..., None], marks)
            rendered = losses.unit_range(targets.image)
            wanted = jax.lax.stop_gradient(self.recognize(trees, rendered, marks))
            terms["identity"] = losses.identity(found, wanted)
        return terms

    def contrast(
        self, trees, fakes, factors, resolution
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The terms of pairs, by weight's name, and what the light's consists of.

        Args:
          trees: with 'face_model', 'regression', 'parser' and, perhaps, 'recognition'.
          fakes: [B, r, r, 3] of `_drawn_pairs`.
          factors: their coefficients.
          resolution: r.
        """
        rows = np.arange(len(fakes)).reshape(-1, _PAIRS).T
        model, camera = trees["face_model"], render.camera_of(resolution)
        factors = jax.lax.stop_gradient(factors)
        faces = [
            render.decode_factors(model, Factors(*(x[k] for x in factors)), self.sizes, camera)
            for k in rows[:2]
        ]
        flow = jax.lax.stop_gradient(render.render_flow(model, *faces, camera))
        moved = losses.expression_change(fakes[rows[0]], fakes[rows[1]], *flow)
        images = [losses.unit_range(fakes[k]) for k in rows[2:]]
        marks = [self.regress(trees, image)[0] for image in images]
        size = self.regressor.size
        parts = {
            "hair": losses.same_hair(*(self.hair(trees, image) for image in images)),
            "same_landmarks": losses.same_landmarks(*marks, size, self.net.resolution),
        }
        if self.recognizer:
            where = render.decode_factors(
                model, Factors(*(x[rows[2]] for x in factors)), self.sizes, camera
            ).landmarks_px
            found = [self.recognize(trees, image, where) for image in images]
            parts["same_identity"] = losses.same_identity(*found)
        changed = losses.light_change(parts, self.loss)
        return {"expression_change": moved, "light_change": changed}, parts

    # ---- use -------------------------------------------------------------------------------------

    def decode_latents(self, params, z: jax.Array) -> Factors:
        """Coefficients of latents [B, num_latents]."""
        return vae.decode_latents(self.vaes, params["vae"], z, self.sizes)

    def predict(self, params: dict[str, Any], coefficients: jax.Array, noise: jax.Array):
        """Pictures at the final resolution, with the stored noise maps; pure.

        Args:
          params: see `facejax.train.system.System`.
          coefficients: [B, num_coefficients], see `factors`.
          noise: [B, n] normal: everything that coefficients do not say.
        """
        latents = jnp.concatenate([coefficients, noise], axis=-1)
        styles = networks.styles_of(self.net, params["gen"], latents)
        return Generated(self.pictures(params, styles, 0.0, self.net.resolution))

    def pictures(self, params, styles, alpha, resolution: int) -> jax.Array:
        """Pictures [B, r, r, 3] of styles [B, L, D], with the stored noise maps; pure."""
        stage = resolution.bit_length() - 1
        names = sorted(params["gen_noise"])[: networks.layers_of(stage)]
        maps = [params["gen_noise"][name] for name in names]
        return networks.pictures_of(self.net, params["gen"], styles, maps, alpha, stage)

    def predict_inputs(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Coefficients and noise."""
        sizes = (self.sizes.num_coefficients, self.sizes.noise)
        return tuple(jax.ShapeDtypeStruct((batch_size, n), np.float32) for n in sizes)

    @functools.cached_property
    def gallery(self):
        """Pictures (made on first use)."""
        from facejax.systems.disco.gallery import Gallery

        return Gallery(self)

    def samples(self, params, plan: Plan, step: int) -> dict[str, np.ndarray]:
        """Fakes beside the renders that they imitate; nothing before the generator learns."""
        del step
        if plan.stage.name in ("vae", "parser"):
            return {}
        resolution = dict(plan.stage.static)["resolution"]
        return {"fakes": self.gallery.fakes(params, resolution, plan.scalars["alpha"])}

    def real_samples(self, plan: Plan) -> dict[str, np.ndarray]:
        """Pictures that the generator learns from."""
        if plan.stage.name in ("vae", "parser"):
            return {}
        return {"reals": self.gallery.reals(dict(plan.stage.static)["resolution"])}

    def finish(self, params, workdir: pathlib.Path) -> None:
        """Contact sheets: a row per person, one factor at a time."""
        self.gallery.export(params, workdir / "export")

    def describe(self) -> list[dict[str, Any]]:
        """One row per stage: batch, images, active parameters."""
        c, params = self.config, networks.abstract_parameters(self.net)
        rows = [
            {"stage": name, "batch": section.batch_size, "kimg": images / 1000,
             "steps": -(-images // section.batch_size)}
            for (name, images), section in zip(
                self.first.items(), (c.vae, c.parser), strict=True)
            if images
        ]  # fmt: skip

        def row(resolution, images, contrast=False):
            stage = self.stage(resolution, contrast)
            active = functools.partial(
                networks.active_parameters, self.net, resolution=resolution
            )  # fmt: skip
            gen = sum(active(tree) for tree in params["gen"].values())
            return {
                "stage": stage.name, "batch": stage.batch_size, "kimg": images / 1000,
                "steps": -(-images // stage.batch_size), "generator": gen,
                "discriminator": active(params["disc"]),
            }  # fmt: skip

        rows += [row(*item) for item in self.schedule.stage_images().items()]
        if self.contrast_images:
            rows.append(row(self.net.resolution, self.contrast_images, True))
        return rows

    def closing_lines(self, workdir: pathlib.Path) -> list[str]:
        """Where to look and what to type next."""
        curves = command_line("tensorboard", "--logdir", workdir)
        return [
            f"Pictures:  {workdir / 'samples'}, {workdir / 'export'}   curves: {curves}",
            f"Measure:   {command_line('facejax', 'evaluate', f'--workdir={workdir}')}",
        ]

    def evaluate(self, params, meta, workdir: pathlib.Path) -> dict[str, Any]:
        """Figures of the generator beside the same figures of real pictures."""
        from facejax.systems.disco.metrics import evaluate

        del meta, workdir
        return evaluate(self, params)


def prerequisites(config) -> tuple[Prerequisite, ...]:
    """Runs of deep3d and idnet on the same face model, where 'auto' asks for them."""
    same = {f"data.{k}": config.data[k] for k in ("model", "model_path")}
    same |= {f"data.model_options.{k}": v for k, v in config.data.model_options.items()}
    # faces fill a training picture more than Deep3D's crops: as if they stood nearer
    nearer = {"data.ranges.depth_dm": 1.0, "schedule.graph_kimg": 0.0}
    return (
        Prerequisite("regression", "regression.run", config.regression.train, same | nearer),
        Prerequisite("recognition", "recognition.run", config.recognition.train, same),
    )


def make_system(config) -> DiscoSystem:
    """The system of a resolved config (configs/disco.py)."""
    return DiscoSystem(config)
