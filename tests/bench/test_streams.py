"""The measurement of streams restores what it wrote; a model that changes nothing gives the frames back."""

import numpy as np
import pytest

from bench import streams
from spikevrt.data.files.video import read_frames


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_changes_nothing_gives_the_frames_back(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "SIDE", (96, 64))
    streams.write_clip(tmp_path, 10)
    assert len(list((tmp_path / "spikes").glob("*.dat"))) == 10
    figures = streams.restore(tmp_path, streams.UNCHANGED, ["TEST.CLIP_OVERLAP=0"])
    assert 0 < figures["model_seconds"] < figures["seconds"]
    before, after = (np.array(list(read_frames(tmp_path / name))) for name in ("blurred.mp4", "sharp.mp4"))
    assert len(after) == 10
    assert np.abs(before.astype(float) - after).mean() < 2
    assert streams.row(10, figures | {"peak": 2**30, "seconds": 5, "model_seconds": 1}) == ("10", "1,024", "2", "20%")
