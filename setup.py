"""Package metadata of facejax. Tool settings live in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r"__version__ = \"(.+)\"", (ROOT / "facejax/version.py").read_text(encoding="utf-8")
).group(1)


class BuildWithConfigs(build_py):
    """Also packs the configuration files, as facejax/configs: a wheel has no folder beside it."""

    def _configs(self) -> dict[pathlib.Path, pathlib.Path]:
        """{file: where it goes}; an editable install finds them in the checkout."""
        if self.editable_mode:
            return {}
        folder = pathlib.Path(self.build_lib, "facejax", "configs")
        return {file: folder / file.name for file in sorted((ROOT / "configs").glob("*.py"))}

    def run(self):
        """Copies them after the modules."""
        super().run()
        for file, target in self._configs().items():
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))

    def get_outputs(self, include_bytecode=True):
        """Names them too, for the list of installed files."""
        return [*super().get_outputs(include_bytecode), *map(str, self._configs().values())]


setup(
    name="facejax",
    version=VERSION,
    description="3D morphable faces, differentiable rendering and face generators in JAX",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8")
    if (ROOT / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["facejax", "facejax.*"]),
    package_data={
        "facejax": ["selftest.npz"],
        "facejax.morphable.makehuman": ["head.npz", "LICENSE.txt", "PROVENANCE.md"],
    },
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={"console_scripts": ["facejax = facejax.cli:main"]},
    python_requires=">=3.11",
    install_requires=[
        "jax>=0.10.0,<0.13",
        "jaxlib>=0.10.0,<0.13",
        "flax>=0.12.0,<0.13",
        "optax>=0.2.8,<0.3",
        "orbax-checkpoint>=0.12.0,<0.13",
        "ml-collections>=1.1,<2",
        "tensorflow-datasets>=4.9.9,<5",
        "importlib_resources>=6",  # tensorflow-datasets uses it without asking for it
        "clu>=0.0.12",
        "numpy>=2.0,<3",
        "scipy>=1.14",
        "absl-py>=2.1",
        "pillow>=11",
        "tensorboardX>=2.6",
        "tqdm>=4.66",
        "trimesh>=4.5",
        "imageio>=2.34",
        "imageio-ffmpeg>=0.5",
    ],
    extras_require={
        "gpu": ["jax[cuda12]>=0.10.0,<0.13"],
        "gpu13": ["jax[cuda13]>=0.10.0,<0.13"],
        "tpu": ["jax[tpu]>=0.10.0,<0.13"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "chex>=0.1.91",
            "ruff>=0.14",
            "scikit-image>=0.24",
            "opencv-python-headless>=4.10,<5",
        ],
    },
)
