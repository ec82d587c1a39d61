"""The materials of an .obj: .mtl files and the pictures that they name.

Names are looked for as people write them: with backslashes, quotes, blanks, in another letter case,
behind options (`-clamp on`), with the folders of another machine in front. What cannot be found is
said, never dropped in silence.
"""

import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Sequence

from facejax.host.files import is_file, name_key, read_text

_log = logging.getLogger(__name__)
_COLOR, _NORMAL = ("map_kd", "map_ka"), ("norm", "map_kn")
_HEIGHT = ("map_bump", "bump")
_OPTIONS = {  # how many words follow an option of a map at most; numbers, where there are several
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-colorspace": 1,
    "-imfchan": 1, "-mm": 2, "-o": 3, "-s": 3, "-t": 3, "-texres": 1, "-type": 1,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Material:
    """What a material of a .mtl says of pictures.

    Attributes:
      name: of the material.
      source: the file and the line that name the picture, for messages.
      color: the picture of the diffuse colour, or None.
      normal: the picture of normals in tangent space, or None.
      scale, offset: texture coordinates are multiplied by the one, then the other is added.
    """

    name: str
    source: str = ""
    color: pathlib.Path | None = None
    normal: pathlib.Path | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


def find_material(
    path: str | os.PathLike, libraries: Sequence[str], names: Sequence[str]
) -> Material | None:
    """The material of a surface that can have only one, with warnings for all that is left out.

    Args:
      path: of the .obj.
      libraries: what stands behind each of its `mtllib`.
      names: the materials that its faces use, those with the most faces first; may be empty: then
        it is the only one of the libraries that has a picture.

    Raises:
      ValueError: a .mtl that is no text.
      OSError: a file cannot be read.
    """
    path = pathlib.Path(path)
    found: dict[str, Material] = {}
    for file in _library_files(path, libraries):
        for material in read_mtl(file):
            found.setdefault(material.name, material)
    if not found:
        return None
    chosen = []
    for name in names:
        same = [m for key, m in found.items() if key.casefold() == name.casefold()]
        if name in found or same:
            chosen.append(found.get(name) or same[0])
        else:
            _log.warning("%s: the material %r is in none of its .mtl files", path, name)
    if not chosen:  # without `usemtl`, or with names that lead nowhere
        chosen = sorted(found.values(), key=lambda m: m.color is None)
        if len(found) > 1 and chosen[0].color is not None:
            _log.warning(
                "%s: no face says which material it has; taking %r of %d",
                path, chosen[0].name, len(found),
            )  # fmt: skip
        chosen = chosen[:1]
    painted = [m for m in chosen if m.color is not None] or chosen
    others = {m.color.name for m in painted if m.color not in (None, painted[0].color)}
    if others:
        _log.warning(
            "%s: a mesh has one texture; taking %s, leaving out %s",
            path, painted[0].color.name, _some(sorted(others)),
        )  # fmt: skip
    return painted[0]


def read_mtl(path: str | os.PathLike) -> list[Material]:
    """The materials of a .mtl file; pictures that do not exist are None, with a warning.

    Raises:
      ValueError: the file is no text.
      OSError: it cannot be read.
    """
    path = pathlib.Path(path)
    found: list[dict] = []
    for number, line in enumerate(read_text(path, "surrogateescape").split("\n"), 1):
        keyword, *rest = line.strip().split(None, 1)[:2] or [""]
        keyword, rest = keyword.lower(), rest[0].strip() if rest else ""
        if keyword == "newmtl":
            found.append({"name": rest, "maps": {}})
        elif found and keyword in (*_COLOR, *_NORMAL, *_HEIGHT) and rest:
            found[-1]["maps"].setdefault(keyword, (number, rest))
    return [_material(path, entry["name"], entry["maps"]) for entry in found]


def _material(path: pathlib.Path, name: str, maps: dict[str, tuple[int, str]]) -> Material:
    picture: dict[str, pathlib.Path | None] = {}
    source, scale, offset = "", (1.0, 1.0), (0.0, 0.0)
    for kind, keywords in (("color", _COLOR), ("normal", _NORMAL)):
        keyword = next((k for k in keywords if k in maps), None)
        if keyword is None:
            continue
        line, argument = maps[keyword]
        picture[kind], options = _map_file(path.parent, argument)
        if picture[kind] is None:
            _log.warning(
                "%s, line %d: %s %s: no such picture: the material %r comes without it",
                path, line, keyword, argument, name,
            )  # fmt: skip
        elif kind == "color":
            source = f"{path}, line {line}"
            scale, offset = _pair(options.get("-s"), scale), _pair(options.get("-o"), offset)
    left = [k for k in _HEIGHT if k in maps]
    if left and "normal" not in picture:
        line, argument = maps[left[0]]
        _log.warning(
            "%s, line %d: %s %s is not read: heights; normals are called `norm`",
            path, line, left[0], argument,
        )  # fmt: skip
    return Material(name, source, picture.get("color"), picture.get("normal"), scale, offset)


def _pair(numbers: list[float] | None, default: tuple[float, float]) -> tuple[float, float]:
    return (*(numbers or ()), *default[len(numbers or ()) :])[:2]


def _map_file(
    folder: pathlib.Path, argument: str
) -> tuple[pathlib.Path | None, dict[str, list[float]]]:
    """The picture that a map's argument names, None if it is not there; the options before it."""
    whole = find_file(folder, argument)
    if whole is not None:
        return whole, {}
    rest, options = argument, {}
    while match := re.match(r"(-\w+)\s+", rest):
        option = match[1].lower()
        if option not in _OPTIONS:
            break
        rest, words = rest[match.end() :], []
        while len(words) < _OPTIONS[option] and (word := re.match(r"(\S+)\s+", rest)):
            if words and not _is_number(word[1]):
                break
            words.append(word[1])
            rest = rest[word.end() :]
        options[option] = [float(w) for w in words if _is_number(w)]
    return find_file(folder, rest), options


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word) is not None


def _library_files(path: pathlib.Path, libraries: Sequence[str]) -> list[pathlib.Path]:
    """The .mtl files that exist; one `mtllib` may name several, and names may have blanks."""
    found = []
    for argument in libraries:
        words = re.findall(r'"[^"]*"|\S+', argument)
        missing = []
        while words:
            for count in range(len(words), 0, -1):
                file = find_file(path.parent, " ".join(words[:count]))
                if file is not None:
                    found.append(file)
                    words = words[count:]
                    break
            else:
                missing.append(words.pop(0))
        own = find_file(path.parent, f"{path.stem}.mtl") if missing else None
        if missing and own is not None and own not in found:
            _log.warning("%s: no material file %r; taking %s", path, argument, own.name)
            found.append(own)
        elif missing:
            _log.warning(
                "%s: no material file %r: its textures are left out", path, " ".join(missing)
            )
    return list(dict.fromkeys(found))


def find_file(folder: str | os.PathLike, name: str) -> pathlib.Path | None:
    """The file that a text in another file names, or None.

    Tried are the name as it is, with slashes for backslashes and without quotes, each part in any
    letter case and Unicode form, and the last part alone (the folders may be another machine's).

    Args:
      folder: that the name is relative to.
      name: as somebody wrote it.
    """
    folder = pathlib.Path(folder)
    name = name.strip()
    plain = name.strip("\"'").strip()
    slashed = plain.replace("\\", "/")
    if not slashed or "\0" in slashed:
        return None
    for text in (name, plain, slashed):
        if is_file(folder / text):
            return folder / text
    parts = [p for p in re.sub(r"^[A-Za-z]:", "", slashed).split("/") if p not in ("", ".")]
    for tail in ([parts] if not slashed.startswith("/") else []) + [parts[-1:]]:
        place = folder
        for part in tail:
            place = _child(place, part)
            if place is None:
                break
        else:
            if tail and is_file(place):
                return place
    return None


def _child(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """What a folder has of a name, whatever the letter case."""
    if name == "..":
        return folder.parent
    wanted = name_key(name).casefold()
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return None
    return next((folder / e for e in entries if name_key(e).casefold() == wanted), None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
