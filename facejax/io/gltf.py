"""glTF 2.0 (.glb, .gltf): triangles, their attributes and two pictures, checked byte by byte.

Read are embedded and external buffers and pictures, any component type, sparse and quantised
accessors, strips and fans, nodes with transforms. Animation, skins and lights are passed over.
"""

import base64
import binascii
import dataclasses
import json
import logging
import pathlib
import struct
import urllib.parse
from typing import Any

import numpy as np

from facejax.geometry.mesh import check_corners
from facejax.host.files import read_json, reading
from facejax.io.images import read_texture
from facejax.io.materials import find_file

_log = logging.getLogger(__name__)
_MAGIC, _JSON, _BINARY = 0x46546C67, 0x4E4F534A, 0x004E4942
_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_GEOMETRY = {"KHR_mesh_quantization", "KHR_texture_transform"}  # read here
_APPEARANCE = ("KHR_materials_", "KHR_lights_", "KHR_animation_", "KHR_xmp", "EXT_lights_",
               "EXT_texture_webp", "KHR_texture_basisu", "MSFT_texture_dds")  # fmt: skip
_COMPRESSED = {"KHR_draco_mesh_compression": "Draco", "EXT_meshopt_compression": "meshopt"}
_MAX_PARTS = 10_000


@dataclasses.dataclass(frozen=True)
class Part:
    """The triangles of one primitive in one node.

    Attributes:
      name: of the mesh.
      vertices: [V, 3] float64, metres, the node's transform applied.
      triangles: [F, 3] int64.
      normals: [V, 3] float64, or None.
      uv: [V, 2] float64, v down, or None.
      colors: [V, 3] float64 linear, or None.
      color_map: [H, W, 3] float32, the base colour's picture, or None.
      normal_map: [H, W, 3] float32, the picture of the normals in tangent space, or None.
    """

    name: str
    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray | None
    uv: np.ndarray | None
    colors: np.ndarray | None
    color_map: np.ndarray | None
    normal_map: np.ndarray | None


def read_gltf(path: pathlib.Path, *, pictures: bool = True) -> list[Part]:
    """The triangles of the scene that a viewer would show.

    Args:
      path: a .glb or .gltf.
      pictures: read textures too; those that are missing are named in a warning.

    Raises:
      ValueError: damaged, compressed, or of an extension that changes what the file says.
      OSError: a file cannot be read.
    """
    with reading(path, "a readable glTF 2.0 file"):
        tree, binary = _open(path)
        return _File(path, tree, binary, pictures).parts()


def _open(path: pathlib.Path) -> tuple[dict[str, Any], bytes | None]:
    with open(path, "rb") as file:
        head = file.read(4)
    if head != struct.pack("<I", _MAGIC):
        if path.suffix.lower() == ".glb":
            raise ValueError("it does not begin as a .glb")
        return _object(read_json(path)), None
    data = path.read_bytes()
    if len(data) < 20:
        raise ValueError("cut inside its header")
    _, version, length = struct.unpack_from("<3I", data)
    if version != 2:
        raise ValueError(f"version {version} of the format; wanted 2")
    if length > len(data):
        raise ValueError(f"cut: {length} bytes are announced, the file has {len(data)}")
    chunks, at = {}, 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<2I", data, at)
        if at + 8 + size > length:
            raise ValueError(f"cut: a part of {size} bytes at byte {at}, the file has {length}")
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    if _JSON not in chunks:
        raise ValueError("no description (JSON) in it")
    return _object(json.loads(chunks[_JSON].decode("utf-8"))), chunks.get(_BINARY)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"found {type(value).__name__} where an object belongs")
    return value


class _File:
    """An opened file; everything in it is looked up by number and checked."""

    def __init__(
        self, path: pathlib.Path, tree: dict[str, Any], binary: bytes | None, pictures: bool
    ):
        self.path, self.tree, self.binary, self.pictures = path, tree, binary, pictures
        self._buffers: dict[int, memoryview] = {}
        version = str(_object(tree.get("asset", {})).get("version", ""))
        if not version.startswith("2"):
            raise ValueError(f"version {version or 'unknown'} of the format; wanted 2")
        for name in tree.get("extensionsRequired", ()):
            known = name in _GEOMETRY or str(name).startswith(_APPEARANCE)
            if name not in _COMPRESSED and not known:
                raise ValueError(
                    f"it needs the extension {name}, which is not read: save it without"
                )

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """Number `index` of a list of the file."""
        items = self.tree.get(kind, [])
        if type(index) is not int or not isinstance(items, list) or not 0 <= index < len(items):
            raise ValueError(f"it names number {index!r} of {kind}, and {len(items)} are there")
        return _object(items[index])

    # --- Numbers ---------------------------------------------------------------------------------

    def buffer(self, index: Any) -> memoryview:
        """The bytes of a buffer."""
        if index not in self._buffers:
            uri = self.item("buffers", index).get("uri")
            content = self.binary if uri is None else self.resource(str(uri))
            if content is None:
                raise ValueError(f"buffer {index} ({uri or 'inside the file'}) is missing")
            self._buffers[index] = memoryview(content)
        return self._buffers[index]

    def resource(self, uri: str) -> bytes | None:
        """What a URI stands for: data in it, or a file beside this one; None if it is missing."""
        if uri.startswith("data:"):
            head, comma, text = uri.partition(",")
            if not comma:
                raise ValueError("a data URI without data")
            if not head.endswith(";base64"):
                return urllib.parse.unquote_to_bytes(text)
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(f"a damaged data URI ({error})") from error
        for name in (urllib.parse.unquote(uri), uri):
            file = find_file(self.path.parent, name)
            if file is not None:
                return file.read_bytes()
        return None

    def view(self, index: Any) -> tuple[memoryview, int]:
        """(bytes, stride or 0) of a buffer view."""
        view = self.item("bufferViews", index)
        if "EXT_meshopt_compression" in view.get("extensions", {}):
            raise ValueError(_compressed("EXT_meshopt_compression"))
        data = self.buffer(view.get("buffer"))
        start, size = _size(view, "byteOffset", 0), _size(view, "byteLength")
        if start + size > len(data):
            name = self.tree["buffers"][view["buffer"]].get("uri", "")
            name = "a buffer" if name.startswith("data:") or not name else f"the buffer {name}"
            raise ValueError(
                f"cut: a view ends at byte {start + size} of {name} of {len(data)} bytes"
            )
        return data[start : start + size], _size(view, "byteStride", 0)

    def accessor(self, index: Any, width: int) -> np.ndarray:
        """[count, width] numbers; float64 unless they are plain integers."""
        accessor = self.item("accessors", index)
        count, kind = _size(accessor, "count"), accessor.get("componentType")
        found = _WIDTHS.get(accessor.get("type"))
        if kind not in _TYPES or found is None or not (found == width or (width, found) == (3, 4)):
            raise ValueError(f"accessor {index} is {accessor.get('type')} of type {kind}")
        dtype = np.dtype(_TYPES[kind])
        sparse = accessor.get("sparse")
        if "bufferView" in accessor:
            values = self.rows(
                accessor["bufferView"], _size(accessor, "byteOffset", 0), count, found, dtype
            )
        elif sparse is None:
            raise ValueError(f"accessor {index} has no data: the file is compressed or incomplete")
        elif count > sum(map(len, map(self.buffer, range(len(self.tree.get("buffers", ())))))):
            raise ValueError(f"accessor {index} announces {count} entries")
        else:
            values = np.zeros((count, found), dtype)
        if sparse is not None:
            values = self.with_sparse(values, _object(sparse))
        if accessor.get("normalized") and dtype.kind in "iu":
            values = np.maximum(values.astype(np.float64) / np.iinfo(dtype).max, -1.0)
        return values[:, :width]

    def rows(self, view: Any, offset: int, count: int, width: int, dtype: np.dtype) -> np.ndarray:
        """[count, width] of a buffer view."""
        data, stride = self.view(view)
        row = width * dtype.itemsize
        stride = stride or row
        if count and (stride < row or offset + (count - 1) * stride + row > len(data)):
            raise ValueError(f"cut: {count} rows of {row} bytes in a view of {len(data)} bytes")
        if not count:
            return np.zeros((0, width), dtype)
        items = np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))
        return items.copy()

    def with_sparse(self, values: np.ndarray, sparse: dict[str, Any]) -> np.ndarray:
        """The rows of a sparse accessor put in their places."""
        count = _size(sparse, "count")
        index, new = _object(sparse.get("indices")), _object(sparse.get("values"))
        kind = _TYPES.get(index.get("componentType"), "f")
        if kind not in ("u1", "<u2", "<u4"):
            raise ValueError("a sparse accessor without indices")
        at = self.rows(
            index.get("bufferView"), _size(index, "byteOffset", 0), count, 1, np.dtype(kind)
        )[:, 0]
        if count and at.max() >= len(values):
            raise ValueError(f"a sparse accessor names row {at.max()} of {len(values)}")
        values[at] = self.rows(
            new.get("bufferView"), _size(new, "byteOffset", 0), count, values.shape[1],
            values.dtype,
        )  # fmt: skip
        return values

    # --- Scene -----------------------------------------------------------------------------------

    def parts(self) -> list[Part]:
        """See `read_gltf`."""
        nodes = self.tree.get("nodes", [])
        if self.tree.get("scenes"):
            scene = self.item("scenes", self.tree.get("scene", 0))
            roots = scene.get("nodes", [])
        else:
            children = {c for node in nodes for c in _object(node).get("children", ())}
            roots = [k for k in range(len(nodes)) if k not in children]
        found: list[Part] = []
        waiting = [(root, np.eye(4)) for root in roots]
        seen: set[int] = set()
        while waiting:
            number, parent = waiting.pop(0)
            node = self.item("nodes", number)
            if number in seen:
                raise ValueError(f"node {number} has two parents")
            seen.add(number)
            matrix = parent @ _transform(node)
            waiting += [(child, matrix) for child in node.get("children", ())]
            if "mesh" in node:
                mesh = self.item("meshes", node["mesh"])
                name = str(mesh.get("name") or node.get("name") or f"mesh {node['mesh']}")
                weights = node.get("weights", mesh.get("weights", ()))
                for primitive in mesh.get("primitives", ()):
                    part = self.part(name, _object(primitive), weights, matrix)
                    found += [part] if part is not None and len(part.triangles) else []
                    if len(found) > _MAX_PARTS:
                        raise ValueError(f"more than {_MAX_PARTS} meshes")
        return found

    def part(
        self, name: str, primitive: dict[str, Any], weights: Any, matrix: np.ndarray
    ) -> Part | None:
        """A primitive in a node; None where it has no triangles."""
        mode = primitive.get("mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            return None
        attributes = _object(primitive.get("attributes", {}))
        if "POSITION" not in attributes:
            return None
        for extension in _COMPRESSED.keys() & _object(primitive.get("extensions", {})).keys():
            if "bufferView" not in self.item("accessors", attributes["POSITION"]):
                raise ValueError(_compressed(extension))
        local = self.accessor(attributes["POSITION"], 3).astype(np.float64)
        for weight, target in zip(weights, primitive.get("targets", ()), strict=False):
            if weight and "POSITION" in target:
                moved = self.accessor(target["POSITION"], 3)
                if moved.shape != local.shape:
                    raise ValueError(f"{name}: a morph target of {len(moved)} vertices")
                local = local + float(weight) * moved
        index = np.arange(len(local))
        if "indices" in primitive:
            index = self.accessor(primitive["indices"], 1)[:, 0].astype(np.int64)
            if len(index) and (index.min() < 0 or index.max() >= len(local)):
                raise ValueError(f"{name}: a triangle names vertex {index.max()} of {len(local)}")
        triangles = _triangles(index, mode)
        linear = matrix[:3, :3]
        if np.linalg.det(linear) < 0:  # a mirror turns the triangles round
            triangles = triangles[:, ::-1]
        vertices = local @ linear.T + matrix[:3, 3]
        check_corners(vertices, triangles)
        read = {
            key: self.accessor(attributes[key], width).astype(np.float64)
            for key, width in (("NORMAL", 3), ("COLOR_0", 3))
            if key in attributes
        }
        wrong = [key for key, value in read.items() if len(value) != len(vertices)]
        if wrong:
            raise ValueError(f"{name}: {wrong[0]} has {len(read[wrong[0]])} rows")
        normals = read.get("NORMAL")
        if normals is not None:
            normals = normals @ np.linalg.pinv(linear)
        uv, color, normal = self.appearance(name, primitive, attributes, len(vertices))
        return Part(name, vertices, triangles, normals, uv, read.get("COLOR_0"), color, normal)

    # --- Appearance ------------------------------------------------------------------------------

    def appearance(self, name, primitive, attributes, count):
        """(uv, picture of colours, picture of normals) of a primitive, each or None."""
        material = {}
        if "material" in primitive:
            material = self.item("materials", primitive["material"])
        color = _object(material.get("pbrMetallicRoughness", {})).get("baseColorTexture")
        normal = material.get("normalTexture")
        info = _object(color or normal or {})
        transform = _object(info.get("extensions", {})).get("KHR_texture_transform", {})
        number = _object(transform).get("texCoord", info.get("texCoord", 0))
        key = f"TEXCOORD_{number}"
        if key not in attributes:
            if color is not None:
                _log.warning(
                    "%s: the mesh %r has a texture and no %s: it comes without",
                    self.path,
                    name,
                    key,
                )
            return None, None, None
        uv = self.accessor(attributes[key], 2).astype(np.float64)
        if len(uv) != count or not np.isfinite(uv).all():
            raise ValueError(f"{name}: {key} is damaged")
        uv = _transformed(uv, _object(transform))
        pictures = (self.picture(name, t) if t is not None else None for t in (color, normal))
        return uv, *pictures

    def picture(self, name: str, info: Any) -> np.ndarray | None:
        """[H, W, 3] of a texture; None, with a warning, if it is missing or of an unread kind."""
        if not self.pictures:
            return None
        texture = self.item("textures", _object(info).get("index"))
        source = texture.get("source")
        webp = _object(texture.get("extensions", {})).get("EXT_texture_webp")
        if webp is not None:
            source = _object(webp).get("source", source)
        if source is None:
            _log.warning(
                "%s: a texture of the mesh %r is of a kind that is not read (%s): it comes without",
                self.path, name, ", ".join(_object(texture.get("extensions", {}))) or "unknown",
            )  # fmt: skip
            return None
        image = self.item("images", source)
        if "bufferView" in image:
            content = bytes(self.view(image["bufferView"])[0])
        else:
            content = self.resource(str(image.get("uri", "")))
        if content is None:
            _log.warning(
                "%s: the picture %s of the mesh %r is not there: it comes without",
                self.path, image.get("uri"), name,
            )  # fmt: skip
            return None
        return read_texture(self.path, content)


def _compressed(extension: str) -> str:
    return (
        f"its triangles are compressed by {_COMPRESSED[extension]} ({extension}), which is not "
        "read: save it without compression"
    )


def _size(holder: dict[str, Any], key: str, default: int | None = None) -> int:
    value = holder.get(key, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key} is {value!r}")
    return value


def _transform(node: dict[str, Any]) -> np.ndarray:
    """[4, 4], acts on column vectors."""
    if "matrix" in node:
        return _vector(node["matrix"], 16).reshape(4, 4).T  # stored column by column
    x, y, z, w = _vector(node.get("rotation", (0, 0, 0, 1)), 4)
    norm = x * x + y * y + z * z + w * w
    if not norm > 0:
        raise ValueError("a node with a rotation of length zero")
    s = 2.0 / norm
    rotation = np.array([
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ])  # fmt: skip
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * _vector(node.get("scale", (1, 1, 1)), 3)
    matrix[:3, 3] = _vector(node.get("translation", (0, 0, 0)), 3)
    return matrix


def _vector(values: Any, count: int) -> np.ndarray:
    vector = np.array(values, np.float64)
    if vector.shape != (count,) or not np.isfinite(vector).all():
        raise ValueError(f"a node with {values!r} where {count} numbers belong")
    return vector


def _transformed(uv: np.ndarray, transform: dict[str, Any]) -> np.ndarray:
    """Texture coordinates by KHR_texture_transform."""
    if not transform:
        return uv
    turn = float(transform.get("rotation", 0.0))
    c, s = np.cos(turn), np.sin(turn)
    uv = uv * _vector(transform.get("scale", (1, 1)), 2)
    uv = uv @ np.array([[c, -s], [s, c]])  # (u, v) turn as rows, v down
    return uv + _vector(transform.get("offset", (0, 0)), 2)


def _triangles(index: np.ndarray, mode: int) -> np.ndarray:
    """[F, 3] of a list, strip or fan; collapsed triangles of strips are left out."""
    if mode == _TRIANGLES:
        return index[: len(index) // 3 * 3].reshape(-1, 3)
    if mode == _FAN:
        first = np.broadcast_to(index[:1], max(len(index) - 2, 0))
        return np.stack([index[1:-1], index[2:], first], axis=-1)
    strip = np.stack([index[:-2], index[1:-1], index[2:]], axis=-1)
    strip[1::2] = strip[1::2, [1, 0, 2]]
    a, b, c = strip.T
    return strip[(a != b) & (b != c) & (c != a)]
