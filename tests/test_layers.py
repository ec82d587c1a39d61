"""The level table of docs/architecture.md, checked on the imports of every file."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "facejax"
LEVELS = {
    "version": 0,
    "host": 0,
    "geometry": 0,
    "image": 0,
    "nn": 0,
    "attachments": 1,
    "render": 1,
    "morphable": 1,
    "recon": 1,
    "metrics": 2,
    "io": 2,
    "data": 2,
    "losses": 2,
    "train": 3,
    "pretrained": 3,
    "systems": 4,
    "pipelines": 5,
    "__main__": 6,
    "api": 6,
    "cli": 6,
    "commands": 6,
    "doctor": 6,
    "readers": 6,
    "selftest": 6,
}
SIDEWAYS = {
    ("nn", "image"),
    ("render", "morphable"),
    ("attachments", "morphable"),
    ("recon", "render"),
    ("recon", "morphable"),
    ("data", "io"),
    ("metrics", "io"),
    ("pretrained", "train"),
}  # within a level, from the first to the second
TOP = 6
SYSTEM_FILES = ("system", "networks", "losses", "data", "metrics", "gallery")
HEAVY = {"PIL", "cv2", "imageio", "orbax", "scipy", "skimage", "tensorflow_datasets", "trimesh"}


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, name: str, is_package: bool) -> list[str]:
    """Full names of everything that a file imports anywhere, also inside functions.

    `from a import b` counts as a.b, which is right for submodules and harmless for other names.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if is_package else name.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *([base] if base else [])])
            found += [f"{base}.{alias.name}" for alias in node.names]
    return found


def violation(importer: str, imported: str) -> str | None:
    """Why one module of facejax must not import another, or None."""
    a, b = importer.split("."), imported.split(".")
    if b[0] != "facejax" or len(a) < 2 or len(b) < 2:
        return None  # another library, or facejax itself, whose names are loaded on use
    if b[1] not in LEVELS:
        return f"{importer}: {imported} has no level"
    low, high = LEVELS[a[1]], LEVELS[b[1]]
    if a[1] == b[1]:
        if a[1] == "systems" and len(a) > 2 and a[2:3] != b[2:3]:
            return f"{importer} imports another system, {imported}"
        return None
    if high > low:
        return f"{importer} (level {low}) imports {imported} (level {high})"
    if (
        high == low
        and low != TOP
        and b[1] not in ("version", "host")
        and (a[1], b[1]) not in SIDEWAYS
    ):
        return f"{importer} imports {imported} of its own level {low}"
    return None


FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {module_name(path): ast.parse(path.read_text(), str(path)) for path in FILES}
PACKAGES = {module_name(path) for path in FILES if path.name == "__init__.py"}


def test_the_rules_catch_what_they_should():
    for importer, imported in [
        ("facejax.geometry.mesh", "facejax.render.uv"),
        ("facejax.geometry.mesh", "facejax.image.filters"),
        ("facejax.morphable.model", "facejax.render.uv.bake"),
        ("facejax.render.uv", "facejax.recon.decoder"),
        ("facejax.morphable.model", "facejax.recon.decoder"),
        ("facejax.io.images", "facejax.data.packed"),
        ("facejax.metrics.swd", "facejax.data.packed"),
        ("facejax.train.loop", "facejax.systems.tbgan.system"),
        ("facejax.train.runs", "facejax.pretrained.importer"),
        ("facejax.systems.tbgan.system", "facejax.systems.disco.losses"),
        ("facejax.systems.tbgan.system", "facejax.cli"),
        ("facejax.systems.tbgan.verbs", "facejax.commands.common"),
        ("facejax.render.uv", "facejax.unheard_of"),
    ]:
        assert violation(importer, imported), (importer, imported)
    for importer, imported in [
        ("facejax.render.uv", "facejax.geometry.mesh.MeshTopology"),
        ("facejax.render.uv", "facejax.morphable.model"),
        ("facejax.recon.decoder", "facejax.render.rasterize.rasterize"),
        ("facejax.data.packed", "facejax.host.files"),
        ("facejax.systems.tbgan.system", "facejax.systems.tbgan.losses"),
        ("facejax.cli", "facejax.doctor"),
        ("facejax.io.images", "numpy.random"),
        ("facejax", "facejax.api"),
    ]:
        assert violation(importer, imported) is None, (importer, imported)
    relative = ast.parse("def f():\n    from ..render import uv\n    from . import math")
    assert imports(relative, "facejax.geometry.mesh", False) == [
        "facejax.render.uv",
        "facejax.geometry.math",
    ]


def test_imports_go_down():
    found = [
        violation(name, imported)
        for name, tree in TREES.items()
        for imported in imports(tree, name, name in PACKAGES)
    ]
    assert len(TREES) > 50  # the folder was found
    assert not [f for f in found if f]


def test_the_table_names_every_package():
    names = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    names = {n for n in names if n == "__main__" or not n.startswith(("_", "."))}
    python = {n for n in names if (PACKAGE / n).is_dir() or (PACKAGE / f"{n}.py").is_file()}
    assert python == set(LEVELS)
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[0].isdigit():
            for name in cells[1].split(","):
                table[name.strip(" `").split("/")[0].removesuffix(".py")] = int(cells[0])
    for name, level in LEVELS.items():
        if name not in (
            "version",
            "doctor",
            "selftest",
            "__main__",
        ):  # not in the table: nothing imports them
            assert table.get(name) == level, name


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Modules that import each other in turn, the first one again at the end, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(graph[name]):
            if found := visit(other):
                return found
        done.add(path.pop())
        return None

    return next((found for name in sorted(graph) if (found := visit(name))), None)


def modules_below(package: str) -> dict[str, set[str]]:
    """Which modules of a package each of its modules imports, also inside functions."""
    names = {n for n in TREES if n.startswith(f"{package}.")}
    graph = {}
    for name in names:
        found = set(imports(TREES[name], name, name in PACKAGES))
        found |= {f.rpartition(".")[0] for f in found}  # `from a.b import function`
        graph[name] = found & names - {name}
    return graph


def test_a_cycle_is_found():
    assert cycle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


SYSTEMS = sorted(path.parent for path in PACKAGE.glob("systems/*/system.py"))


@pytest.mark.parametrize("package", ["train", *(f"systems.{folder.name}" for folder in SYSTEMS)])
def test_no_cycles(package):
    graph = modules_below(f"facejax.{package}")
    assert len(graph) > 1  # the folder was found
    assert cycle(graph) is None


@pytest.mark.parametrize("folder", SYSTEMS, ids=lambda folder: folder.name)
def test_every_system_has_the_same_files(folder):
    missing = {f for f in SYSTEM_FILES if not (folder / f"{f}.py").is_file()}
    assert not missing


@pytest.mark.parametrize("folder", ["facejax", "launch", "data_prep", "configs", "tests"])
def test_no_star_imports(folder):
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        names = [n for n in imports(ast.parse(path.read_text()), "x.y", False) if n[-2:] == ".*"]
        assert not names, f"{path.relative_to(ROOT)}: {names}"


def test_heavy_libraries_are_imported_inside_functions():
    def at_import(node):
        """Statements that run when a module is imported."""
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield child
                yield from at_import(child)

    for name, tree in TREES.items():
        statements = [n for n in at_import(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        block = ast.Module(statements, [])
        found = HEAVY & {i.split(".")[0] for i in imports(block, name, name in PACKAGES)}
        assert not found, f"{name} imports {found} at import"


_IMPORT_ALL = """
import importlib, json, sys
names = json.loads(sys.argv[1])
for name in names:
    importlib.import_module(name)
from jax._src import xla_bridge
heavy = sorted(set(json.loads(sys.argv[2])) & set(sys.modules))
print(json.dumps([xla_bridge.backends_are_initialized(), heavy]))
"""


def test_importing_touches_no_device_and_no_heavy_library():
    code = [sys.executable, "-c", _IMPORT_ALL]
    arguments = [json.dumps(sorted(TREES)), json.dumps(sorted(HEAVY - _brought_along()))]
    done = subprocess.run([*code, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    initialised, heavy = json.loads(done.stdout.splitlines()[-1])
    assert not initialised
    assert not heavy


def _brought_along():
    """Heavy libraries that jax, flax and optax import themselves."""
    code = "import jax, flax, optax, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(json.loads(done.stdout))


def test_importing_facejax_alone_is_instant():
    code = """
import sys, time
start = time.perf_counter()
import facejax
took = time.perf_counter() - start
assert not {"jax", "numpy", "flax"} & set(sys.modules), "facejax imports more than itself"
assert "render_image" in dir(facejax)
print(took)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0
