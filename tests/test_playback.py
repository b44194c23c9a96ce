"""playback turns whatever other commands read as spikes into pictures, and says what it needs to know."""

import numpy as np
import pytest
from PIL import Image

from spikevrt.data.files.video import frame_times, read_frames
from spikevrt.data.spikes.recording import write_packed
from spikevrt.errors import UserError
from spikevrt.playback import main
from spikevrt.simulate import main as simulate

H, W, N = 32, 48, 60
SIZE = ["--opts", f"DATA.SPIKE_HEIGHT={H}", f"DATA.SPIKE_WIDTH={W}"]
USUAL = ["--window", "20", "--step", "10", "--white", "1"]


@pytest.fixture(scope="module")
def spikes():
    """Bright on top, dark below: each pixel fires as often as its row says."""
    rates = np.linspace(0.9, 0.1, H)[:, None]
    return (np.random.default_rng(0).random((N, H, W)) < rates).astype(np.uint8)


@pytest.fixture
def recording(tmp_path, spikes):
    path = tmp_path / "spikes" / "recording.dat"
    path.parent.mkdir()
    write_packed(path, spikes)
    (path.parent / "config.yaml").write_text(f"spike_h: {H}\nspike_w: {W}\n")
    return path


def pictures(folder):
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def expected(spikes):
    return [np.rint(255 * spikes[t : t + 20].mean(0)) for t in range(0, N - 19, 10)]


@pytest.mark.parametrize("source", ["folder", "file", "clip", "npz", "options", "raw"])
def test_whatever_holds_spikes_is_played_upright(tmp_path, recording, spikes, source, capsys):
    place, options = recording, []
    if source in ("folder", "clip"):
        place = recording.parent if source == "folder" else recording.parent.parent
        options = ["--opts", "DATA.SPIKE_DIR=spikes"] if source == "clip" else []
    elif source == "npz":
        place = tmp_path / "a.npz"
        np.savez_compressed(place, spk=spikes)
    elif source == "raw":
        place = recording.rename(recording.with_suffix(".raw"))
    elif source == "options":
        (recording.parent / "config.yaml").unlink()
        write_packed(recording, spikes, flip=False)
        options = [*SIZE, "DATA.SPIKE_FLIP=false"]
    assert main([str(place), "--out", str(tmp_path / "out"), *USUAL, *options]) == 0
    made = pictures(tmp_path / "out")
    assert list(made) == [f"{i:06}" for i in range(1, 6)]
    np.testing.assert_allclose(list(made.values()), expected(spikes), atol=1)
    said = capsys.readouterr().out
    assert "5 pictures of 48x32 in" in said
    assert f"read with DATA.SPIKE_FLIP={str(source not in ('npz', 'options')).lower()}" in said


def test_an_npz_is_turned_over_on_request(tmp_path, spikes):
    np.savez(tmp_path / "a.npz", spk=spikes[:, ::-1])
    main([str(tmp_path / "a.npz"), "--out", str(tmp_path / "out"), *USUAL, "--opts", "DATA.SPIKE_FLIP=true"])
    np.testing.assert_allclose(list(pictures(tmp_path / "out").values()), expected(spikes), atol=1)


def test_what_simulate_makes_is_played_by_the_clock(tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    ramp = np.broadcast_to(np.linspace(0, 255, W, dtype=np.uint8)[None, :, None], (H, W, 3))
    for name in range(6):
        Image.fromarray(np.ascontiguousarray(ramp)).save(frames / f"{name}.png")
    assert simulate([str(frames), "--out", str(tmp_path / "spikes")]) == 0
    out = tmp_path / "out.mp4"
    rate = ["DATA.RECORDING.SPIKE_RATE=2000", "DATA.RECORDING.FRAME_RATE=250"]
    options = ["--method", "tfi", "--step", "4", "--fps", "10", "--opts", *rate]
    assert main([str(tmp_path / "spikes"), "--out", str(out), *options]) == 0
    made = list(read_frames(out))
    assert (len(made), frame_times(out).rate) == (10, 10)
    assert "the video takes 50 times as long as what it shows" in capsys.readouterr().out
    for frame in made:
        np.testing.assert_allclose(frame, ramp, atol=30)


def test_the_time_stands_in_the_lower_left_corner(tmp_path, recording):
    for name, options in {"plain": [], "timed": ["--time", "--spike-rate", "20000"]}.items():
        assert main([str(recording), "--out", str(tmp_path / name), *USUAL, *options]) == 0
    plain, timed = (list(pictures(tmp_path / name).values()) for name in ("plain", "timed"))
    texts = [np.where(a != b, b, 127) for a, b in zip(plain, timed, strict=True)]
    for text in texts:
        assert (text[: H // 2] == 127).all()
        assert (text == 0).any()
        assert text.max() > 200
    # "0.50 ms" and "1.00 ms"
    assert (texts[0] != texts[1]).any()


@pytest.mark.parametrize("out", ["pictures", "video.mp4"])
def test_results_are_replaced_on_request_and_a_video_is_whole_or_not_there(tmp_path, spikes, out, capsys):
    """The last value of the array is no spike, which only reading it tells."""
    np.savez(tmp_path / "good.npz", spk=spikes)
    np.savez(tmp_path / "bad.npz", spk=np.concatenate([spikes[:-1], 2 * np.ones((1, H, W), np.uint8)]))
    target = tmp_path / out
    with pytest.raises(UserError, match="holds values above 1"):
        main([str(tmp_path / "bad.npz"), "--out", str(target), *USUAL])
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".npz" and path != target]
    assert len(pictures(target)) == 4 if out == "pictures" else not target.exists()
    assert main([str(tmp_path / "good.npz"), "--out", str(target), *USUAL, "--overwrite"]) == 0
    with pytest.raises(UserError, match="holds results already; name another --out, or give --overwrite"):
        main([str(tmp_path / "good.npz"), "--out", str(target), *USUAL])
    capsys.readouterr()
    assert main([str(tmp_path / "good.npz"), "--out", str(target), *USUAL[2:], "--overwrite"]) == 0
    assert ("also holds 3 PNGs" in capsys.readouterr().out) == (out == "pictures")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fps", "10"], "--fps 10: PNGs have no pace; leave it out"),
        (["--time"], "--time: needs to know how many spike frames .* give --spike-rate"),
        (["--window", "61"], r"--window 61: .*recording\.dat has 60 spike frames; give at most so many"),
        (["--window", "99999"], "--window: 99999 must be at least 1 and at most 10000"),
        (["--step", "0"], "--step: invalid positive integer"),
        (["--white", "2"], "--white: 2 must be at most 1"),
        (["--opts", "DATA.SPIKE_WIDTH=48"], "DATA.SPIKE_HEIGHT"),
        (["--opts", "DATA.SPIKE_HEIGHT=7", "DATA.SPIKE_WIDTH=24"], "are not a whole number of 7x24 packed frames"),
    ],
)
def test_wrong_options_are_named_before_anything_is_written(tmp_path, recording, arguments, message):
    with pytest.raises(UserError, match=message):
        main([str(recording), "--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_places_without_a_recording_are_named(tmp_path, recording):
    def play(place, out="out"):
        main([str(place), "--out", str(tmp_path / out)])

    with pytest.raises(UserError, match="missing: no such recording"):
        play(tmp_path / "missing")
    with pytest.raises(UserError, match=r"holds no recordings \(\.dat, \.npz\)"):
        play(tmp_path)
    with pytest.raises(UserError, match=r"--out .* is an input, which would be lost"):
        play(recording.parent, "spikes")
    with pytest.raises(UserError, match=r"recording\.dat: is a file; --out names a folder"):
        play(recording, "spikes/recording.dat")
    (recording.parent / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"geometry is unknown.*\(python -m spikevrt\.identify FILE finds it\)"):
        play(recording)
    assert not (tmp_path / "out").exists()
