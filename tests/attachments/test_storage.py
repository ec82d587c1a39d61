"""Wardrobes in the cache."""

import jax
import numpy as np

from facejax.attachments import load_wardrobe, storage


def test_a_wardrobe_is_built_once_and_read_back_the_same(model, wardrobe, monkeypatch, tmp_path):
    monkeypatch.setenv("FACEJAX_CACHE_DIR", str(tmp_path))
    built = []

    def build(given):
        built.append(given)
        return wardrobe

    monkeypatch.setattr(storage, "build_wardrobe", build)
    for _ in range(2):
        found = load_wardrobe(model)
        assert jax.tree.structure(found) == jax.tree.structure(wardrobe)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wardrobe), strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(built) == 1
    assert len(list(tmp_path.glob("wardrobe-*.npz"))) == 1
