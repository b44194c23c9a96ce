"""Similarity of pictures of the same scene, of different scenes, and upside down."""

import numpy as np
import pytest

from spikevrt.data.files.similarity import SIMILAR, correlation, resized, similarity


@pytest.fixture
def scene():
    """(12,16) brightness, smooth over blocks of four pixels."""
    small = np.random.default_rng(0).uniform(0, 255, (3, 4)).astype(np.float32)
    return np.kron(small, np.ones((4, 4), np.float32))


def test_correlation_is_pearsons():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 7))
    assert correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert correlation(a, np.full_like(a, 3)) == 0


def test_pictures_are_resized_by_area(scene):
    np.testing.assert_allclose(resized(scene, (3, 4)), scene[::4, ::4], rtol=1e-6)


def test_a_view_is_known_again_in_any_size_and_brightness(scene):
    view = scene[::2, ::2] / 510 + 0.1
    same = similarity(scene, view)
    assert same.as_given == pytest.approx(1)
    assert same.flipped < SIMILAR
    turned = similarity(scene, view[::-1])
    assert (turned.flipped, turned.as_given) == (same.as_given, same.flipped)
