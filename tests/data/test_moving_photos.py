"""Photos that move: how far, how fast, before each other, and what is no photo."""

import json
from dataclasses import replace

import numpy as np
import pytest

from spikevrt.data.files.images import image_size, write_png
from spikevrt.data.preparation.moving_photos import find_photos, moving_photo, turned_reach
from spikevrt.data.preparation.recipe import Movement, Recipe
from spikevrt.data.simulation.camera import SpikeCamera
from spikevrt.errors import UserError
from spikevrt.prepare import main as prepare

STILL = Movement(layers=0, rotation=0, zoom=0, shake=0)
"""A photo that is only shifted."""


def test_a_photo_moves_as_fast_as_it_is_told(tmp_path):
    ramp = np.broadcast_to(np.arange(0, 200, dtype=np.uint8)[None, :, None], (120, 200, 3))
    write_png(tmp_path / "ramp.png", np.ascontiguousarray(ramp))

    def typical(speed):
        movement = replace(STILL, speed=speed)
        views = np.array([v[0].mean() for v in moving_photo(tmp_path / "ramp.png", (40, 40), 200, 1, movement)])
        return np.sqrt(np.mean((views[20:] - views[:-20]) ** 2))

    assert typical(0.2) == pytest.approx(2 * typical(0.1), rel=0.1)
    assert typical(0) == 0


def test_moved_photos_move_by_fractions_of_a_pixel(tmp_path):
    ramp = np.broadcast_to(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (80, 100, 3))
    write_png(tmp_path / "ramp.png", np.ascontiguousarray(ramp))
    places = [float(view[0, 0, 0]) for view in moving_photo(tmp_path / "ramp.png", (40, 40), 60, 1, STILL)]
    steps = np.abs(np.diff(places))
    assert 0 < steps.max() <= 2
    with pytest.raises(UserError, match="too few for views of 90x90"):
        next(moving_photo(tmp_path / "ramp.png", (90, 90), 2, 0, STILL))


def test_a_photo_turns_and_grows_as_far_as_it_may(tmp_path):
    """Two dots on black: their distance and direction tell zoom and angle."""
    photo = np.zeros((400, 400, 3), np.uint8)
    photo[200, 200], photo[200, 230, 0] = 255, 255
    write_png(tmp_path / "dots.png", photo)
    seen = []
    for view in moving_photo(
        tmp_path / "dots.png", (160, 160), 300, 3, Movement(layers=0, rotation=20, zoom=0.2, shake=0)
    ):
        light = view.astype(float) ** 2
        places = [np.array([(light[..., c] * axis).sum() for axis in np.mgrid[:160, :160]]) for c in (0, 1)]
        both, one = light[..., 0].sum(), light[..., 1].sum()
        if one > 1e4 and both > 1.5 * one:
            way = (places[0] - places[1]) / (both - one) - places[1] / one
            seen.append((np.hypot(*way) / 30, np.degrees(np.arctan2(way[0], way[1]))))
    zooms, angles = np.array(seen).T
    assert len(seen) > 20
    assert 1 / 1.25 < zooms.min() < zooms.max() < 1 / 0.77
    assert np.abs(angles).max() < 23
    assert np.ptp(angles) > 5


def test_pieces_of_other_photos_move_before_it(tmp_path):
    for name, value in (("behind", 0), ("front", 200)):
        write_png(tmp_path / f"{name}.png", np.full((240, 240, 3), value, np.uint8))
    photos = find_photos([str(tmp_path)])
    assert [path.stem for path in photos] == ["behind", "front"]

    def views(seed):
        return np.array(list(moving_photo(photos[0], (100, 100), 80, seed, Movement(layers=2), photos[1:])))

    covered = views(0)[..., 0] / 200
    shares = covered.mean((1, 2))
    assert 0.01 < shares.max() < 0.8
    assert np.abs(np.diff(shares)).max() < 0.1
    assert 0 < ((covered > 0.02) & (covered < 0.98)).mean() < 0.1  # Outlines are soft, but only outlines.
    np.testing.assert_array_equal(views(0), views(0))
    assert (views(0) != views(1)).any()


def test_a_photo_that_is_too_small_is_named_before_any_clip_is_made(tmp_path):
    for name, side in (("large", 200), ("small", 160)):
        write_png(tmp_path / "photos" / f"{name}.png", np.zeros((side, 200, 3), np.uint8))
    with pytest.raises(UserError, match=r"small.png: 160x200 pixels are too few for views of 160x160; leave it out"):
        prepare(["photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    assert prepare(["photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--size", "70"]) == 0
    # Whole blocks of the model, as of videos.
    assert image_size(tmp_path / "out" / "train" / "photo-small" / "sharp" / "000001.png") == (64, 64)


@pytest.mark.parametrize(("options", "gamma"), [([], 1.0), (["--linear-light"], 2.2), (["--gamma", "1.5"], 1.5)])
def test_light_is_what_the_options_say(tmp_path, options, gamma):
    write_png(tmp_path / "photo.png", np.random.default_rng(0).integers(0, 256, (170, 170, 3), dtype=np.uint8))
    arguments = ["photos", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out"), "--exposure", "1", *options]
    assert prepare(arguments) == 0
    notes = json.loads((tmp_path / "out" / "train" / "photo-photo" / "clip.json").read_text())
    assert (notes["gamma"], notes["light"]) == (gamma, "gamma" if gamma == 1 else "linear")


def test_photos_that_share_a_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        write_png(tmp_path / folder / "x.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"photos share a name \(x\)"):
        find_photos([str(tmp_path / "a"), str(tmp_path / "b")])
    for name in ("layers", "speed", "rotation", "zoom", "shake"):
        with pytest.raises(UserError, match=f"--{name}"):
            Movement(**{name: -1})
    with pytest.raises(UserError, match="--frame-noise nan"):
        Recipe(frame_noise=float("nan"))
    with pytest.raises(UserError, match="--gamma 0"):
        SpikeCamera(gamma=0)


@pytest.mark.parametrize("rotation", [0, 10, 50, 90, 180])
def test_a_turned_view_stays_inside_its_photo(rotation):
    half = np.array([40.0, 80.0])
    seen = np.zeros(2)
    for angle in np.radians(np.linspace(0, rotation, 1000)):
        cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
        seen = np.maximum(seen, [half[0] * cos + half[1] * sin, half[1] * cos + half[0] * sin])
    np.testing.assert_allclose(turned_reach(half, rotation, 0.1), 1.1 * seen, rtol=1e-4)


def test_large_photos_are_made_smaller(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (800, 900, 3), dtype=np.uint8)
    write_png(tmp_path / "noise.png", noise)
    view = next(moving_photo(tmp_path / "noise.png", (100, 100), 1, 0, STILL))
    assert view.std() < 0.7 * noise.std()


def test_a_folder_of_photos_becomes_training_clips(tmp_path, capsys):
    for seed, name in enumerate(("one", "two")):
        noise = np.random.default_rng(seed).integers(0, 256, (200, 200, 3), dtype=np.uint8)
        write_png(tmp_path / "photos" / f"{name}.png", noise)
    out, given = tmp_path / "data", ["--exposure", "1", "--stride", "1", "--factor", "4", "--layers", "1"]
    assert prepare(["photos", str(tmp_path / "photos"), "--out", str(out), *given]) == 0
    assert sorted(path.name for path in (out / "train").iterdir()) == ["photo-one", "photo-two"]
    notes = json.loads((out / "train" / "photo-one" / "clip.json").read_text())
    assert notes["movement"] == {"layers": 1, "rotation": 10.0, "zoom": 0.1, "shake": 0.5, "speed": 0.25}
    assert (notes["interpolate"], notes["factor"], notes["exposure"]) == ("none", 1, 4)
    assert "photo-two: 12 blurred frames" in capsys.readouterr().out
