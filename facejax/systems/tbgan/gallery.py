"""Pictures and exports of a TBGAN run: sample grids, rendered heads, GLB files, videos."""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from facejax.geometry.camera import Camera
from facejax.geometry.mesh import Mesh
from facejax.host.files import atomic_path
from facejax.image.resample import resize
from facejax.io.images import add_text_labels, image_grid, to_uint8, write_image
from facejax.nn.batching import in_batches, padded_batches
from facejax.nn.latents import smooth_latent_path
from facejax.render import render
from facejax.systems.tbgan.faces import FaceMaker, FaceOptions
from facejax.systems.tbgan.networks import NetworkConfig, generate

VIEWS_RAD = {"front": 0.0, "side": 0.7}  # yaw
DISTANCE_MM = 1060.0  # of the camera: the whole head with its hair
BATCH = 8  # faces made and rendered at a time
SYNONYMS = {"smile": "happy", "angry": "anger", "scared": "fear", "surprised": "surprise"}


def take(mesh: Mesh, index) -> Mesh:
    """One face (or a slice) of a batched mesh."""
    return jax.tree.map(lambda a: a[index], mesh)


class Gallery:
    """Everything that turns parameters into something to look at.

    Args:
      config: resolved config with `gallery`, `loss.label_scale`.
      net: network configuration.
      source: the data, whose `model` and `codec` make faces from maps; without them (e.g. legacy
        records) only the maps are shown.

    Attributes:
      stage: (resolution, alpha) of maps where a call names none; the last stage at first.
    """

    def __init__(self, config, net: NetworkConfig, source):
        self.net, self.source = net, source
        self.stage = (net.resolution, 0.0)
        self.options = config.gallery
        self.label_scale = config.loss.label_scale
        self.names = list(source.label_names)
        self.maker = None
        if source.model is not None and source.codec is not None:
            options = FaceOptions(self.options.smoothing, self.options.texture_size)
            self.maker = FaceMaker(source.model, source.codec, options)

    # ---- maps ------------------------------------------------------------------------------------

    def latents(self, num: int, seed: int) -> np.ndarray:
        """Standard normal latents [num, latents], the same for the same seed everywhere."""
        return np.random.RandomState(seed).randn(num, self.net.latents).astype(np.float32)

    def label(self, expression: str | int) -> np.ndarray:
        """One-hot row [label_size] of an expression's name or number.

        Raises:
          ValueError: an unknown expression.
        """
        if isinstance(expression, str):
            if expression not in self.names:
                expression = SYNONYMS.get(expression, expression)
            if expression not in self.names:
                raise ValueError(
                    f"unknown expression {expression!r}: this model knows {', '.join(self.names)}"
                )
            expression = self.names.index(expression)
        return np.eye(self.net.label_size, dtype=np.float32)[expression]

    def maps(self, gen, latents, labels, resolution: int | None = None, alpha=0.0) -> np.ndarray:
        """Generated maps [N, r, r, C]; labels are probabilities [N, K]."""
        resolution, alpha = (resolution, alpha) if resolution else self.stage

        def some(part):
            z, y = part
            return generate(self.net, resolution, gen, z, y * self.label_scale, alpha)

        return in_batches(some, (latents, labels), BATCH)

    def map_names(self) -> list[str]:
        """What `map_pictures` shows, in order."""
        if self.source.codec is not None:
            return list(self.source.codec.slices())
        names = [n for n, _ in self.net.modalities]
        # published nets of 3 or 6 channels split a picture's channels over their three branches
        return names if self.net.num_channels == 9 else names[: -(-self.net.num_channels // 3)]

    # ---- pictures --------------------------------------------------------------------------------

    def map_pictures(self, maps: np.ndarray, size: int | None = None) -> list[np.ndarray]:
        """Viewable [N, size, size, 3] in [0, 1] of each modality.

        Shape shows x, y, z as red, green, blue over the head's extent; normals show n / 2 + 1 / 2.
        """
        size = size or self.options.tile
        codec = self.source.codec
        if codec is None:
            width = 3
            parts = [maps[..., k : k + width] * 0.5 + 0.5 for k in range(0, maps.shape[-1], width)]
        else:
            decoded = codec.decode(maps)
            center = np.asarray(codec.center_mm, np.float32).reshape(1, 1, 1, 3)
            inside = codec.mask(maps.shape[-2])[None, ..., None]
            shown = {
                "texture": lambda a: a,
                "shape": lambda a: jnp.where(inside, (a - center) / codec.extent_mm / 2 + 0.5, 0),
                "normals": lambda a: jnp.where(inside, a / 2 + 0.5, 0),
            }
            parts = [shown[name](value) for name, value in decoded.items()]
        method = "nearest" if maps.shape[-2] <= size else "bilinear"
        return [np.clip(resize(jnp.asarray(p), (size, size), method), 0, 1) for p in parts]

    def views(self, meshes: Mesh, yaws_rad: Sequence[float], size: int) -> np.ndarray:
        """Renders [len(yaws), N, size, size, 3] in [0, 1] of a batch of meshes."""
        out = []
        for yaw in yaws_rad:
            camera = Camera.look_at(DISTANCE_MM, yaw_rad=yaw)
            out.append(self._render(meshes, camera, size))
        return np.stack(out)

    @staticmethod
    def _render(meshes: Mesh, camera: Camera, size: int) -> np.ndarray:
        picture = render(meshes, camera, size=(size, size), supersample=2, silhouette="none")
        return np.asarray(picture.image)

    def rendered(self, maps: np.ndarray, yaws_rad: Sequence[float], size: int) -> np.ndarray:
        """Renders [len(yaws), N, size, size, 3] of the faces of maps, a few at a time."""

        def some(part):
            return list(self.views(self.maker(part), yaws_rad, size))

        return np.stack(in_batches(some, maps, BATCH))

    def grid(self, maps: np.ndarray, rows: Sequence[str]) -> np.ndarray:
        """[H, W, 3] uint8: one row per face; columns are the maps and the rendered views."""
        columns = self.map_pictures(maps)
        names = self.map_names()
        if self.maker is not None:
            columns += list(self.rendered(maps, list(VIEWS_RAD.values()), self.options.tile))
            names += list(VIEWS_RAD)
        tiles = [column[row] for row in range(len(maps)) for column in columns]
        return to_uint8(add_text_labels(image_grid(tiles, len(columns)), rows, names))

    def fake_grid(self, gen, resolution: int, alpha: float = 0.0) -> np.ndarray:
        """The grid of generated faces, one row per expression, latents fixed over the run."""
        num = max(self.net.label_size, 1)
        latents = self.latents(num, self.options.seed)
        labels = np.eye(num, self.net.label_size, dtype=np.float32)
        return self.grid(self.maps(gen, latents, labels, resolution, alpha), self._rows())

    def real_grid(self, resolution: int) -> np.ndarray:
        """The same grid of real maps: per row the example with most of that expression."""
        num = min(len(self.source), 256)
        labels = np.asarray(self.source.batch(np.arange(num), resolution=4)["labels"])
        picked = labels.argmax(0) if labels.shape[1] else np.zeros(1, np.int64)
        return self.grid(
            np.asarray(self.source.batch(picked, resolution=resolution)["maps"]), self._rows()
        )

    def _rows(self) -> list[str]:
        return self.names or ["no label"]

    def contact_sheet(self, maps: np.ndarray, columns: int, size: int = 128) -> np.ndarray:
        """[H, W, 3] uint8: frontal renders of faces."""
        return to_uint8(image_grid(list(self.rendered(maps, [0.0], size)[0]), columns))

    # ---- files -----------------------------------------------------------------------------------

    def write_face(self, maps: np.ndarray, folder: pathlib.Path, name: str, formats=("glb",)):
        """Writes one face [r, r, C]: maps as PNG and npz, mesh files, rendered pictures.

        Args:
          maps: network channels.
          folder: where to; made if missing.
          name: stem of the file names.
          formats: suffixes of mesh files: 'glb', 'obj', 'ply'.
        """
        from facejax.io.meshes import save_mesh

        codec = self.source.codec
        decoded = {k: np.asarray(v) for k, v in codec.decode(maps[None]).items()} if codec else {}
        with atomic_path(folder / f"{name}_maps.npz") as path:
            np.savez_compressed(path, network=maps, **{k: v[0] for k, v in decoded.items()})
        for label, picture in zip(
            self.map_names(), self.map_pictures(maps[None], maps.shape[0]), strict=True
        ):
            write_image(folder / f"{name}_{label}.png", picture[0])
        if self.maker is None:
            return
        mesh = self.maker(maps[None])
        for view, picture in zip(
            VIEWS_RAD, self.views(mesh, list(VIEWS_RAD.values()), 512), strict=True
        ):
            write_image(folder / f"{name}_{view}.png", picture[0])
        for suffix in formats:
            save_mesh(folder / f"{name}.{suffix}", take(mesh, 0))

    def interpolation(self, gen, frames: int, seed: int, smoothing_frames: float = 8.0, size=256):
        """Yields [size, size, 3] pictures along a closed smooth path through latents and labels."""
        raw = np.random.RandomState(seed).randn(frames, 1, self.net.latents + self.net.label_size)
        path = np.asarray(smooth_latent_path(raw, smoothing_frames), np.float32)[:, 0]
        latents, logits = path[:, : self.net.latents], path[:, self.net.latents :]
        labels = np.asarray(jax.nn.softmax(2.0 * logits, axis=-1)) if logits.shape[1] else logits
        yield from self.pictures_of(
            gen, latents, labels, np.sin(np.linspace(0, 2 * np.pi, frames)), size
        )

    def expression_sweep(self, gen, seed: int, frames_each: int = 12, size: int = 256):
        """Yields pictures of one identity that walks through all expressions and back."""
        count = self.net.label_size
        stops = [0] + [k for e in range(1, count) for k in (e, 0)]
        labels = []
        for a, b in zip(stops[:-1], stops[1:], strict=True):
            t = np.linspace(0, 1, frames_each, endpoint=False)
            t = (t * t * (3 - 2 * t))[:, None]
            labels.append((1 - t) * np.eye(count)[a] + t * np.eye(count)[b])
        labels = np.concatenate(labels).astype(np.float32)
        latents = np.repeat(self.latents(1, seed), len(labels), axis=0)
        yield from self.pictures_of(gen, latents, labels, np.zeros(len(labels)), size)

    def pictures_of(self, gen, latents, labels, turn, size):
        """Yields a picture [size, size or more, 3] per latent: the rendered face, or its maps.

        Args:
          gen: parameters of the generator.
          latents: [F, D].
          labels: [F, K] probabilities.
          turn: [F] in [-1, 1], the share of a turn by 40 degrees.
          size: pixels.
        """
        yaws_rad = (0.7 * np.asarray(turn)).astype(np.float32)
        for (z, y, yaw_rad), count in padded_batches((latents, labels, yaws_rad), BATCH):
            maps = self.maps(gen, z, y)
            if self.maker is None:
                yield from np.concatenate(self.map_pictures(maps[:count], size), axis=2)
                continue
            camera = Camera.look_at(DISTANCE_MM, yaw_rad=yaw_rad)
            yield from self._render(self.maker(maps), camera, size)[:count]

    def export(self, gen, folder: pathlib.Path) -> None:
        """What a run leaves at its end: a few heads, a contact sheet, an interpolation video."""
        from facejax.io.video import write_video

        num = self.options.num_heads
        labels = [self.label(k % self.net.label_size) for k in range(num)]
        labels = np.stack(labels) if self.net.label_size else np.zeros((num, 0), np.float32)
        maps = self.maps(gen, self.latents(num, self.options.seed), labels)
        for k in range(num):
            self.write_face(maps[k], folder, f"head_{k:02d}")
        if self.maker is not None:
            rows = max(self.net.label_size, 1)
            z = self.latents(8 * rows, self.options.seed + 1)
            y = np.tile(np.eye(rows, self.net.label_size, dtype=np.float32), (8, 1))
            write_image(folder / "faces.png", self.contact_sheet(self.maps(gen, z, y), rows))
        frames = 12 * num
        write_video(
            folder / "interpolation.mp4", self.interpolation(gen, frames, self.options.seed), fps=15
        )
