"""The recordings that belong to the frames of a clip."""

import numpy as np
import pytest

from spikevrt.config import DataConfig
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.recording import write_packed
from spikevrt.errors import UserError

DATA = DataConfig(k=2)
H, W = 8, 16


@pytest.fixture
def folder(tmp_path):
    """Three files of 4, 6 and 8 spike frames, with a pixel that is always on in each."""
    for i, stem in enumerate(("a", "b", "c")):
        spikes = np.zeros((4 + 2 * i, H, W), np.uint8)
        spikes[:, i, i] = 1
        write_packed(tmp_path / f"{stem}.dat", spikes)
    (tmp_path / "config.yaml").write_text(f"spike_h: {H}\nspike_w: {W}\n")
    return tmp_path


def test_files_stand_in_the_order_of_the_frames(folder):
    spikes = SpikeFolder.open(folder, ("c", "a", "b"), DATA, folder)
    assert list(spikes.files) == ["c", "a", "b"]
    assert spikes.size == (H, W)
    counts, bin_frames = spikes.voxels("b", DATA, (0, 1, 2, 3))
    assert bin_frames.tolist() == [3, 3]
    assert counts[:, 1, 0].tolist() == [3, 3]
    assert counts.sum() == 6


def test_the_same_recordings_serve_frames_of_other_stems(folder):
    (folder / "windows.csv").write_text("stem,start,length\na,0,2\nb,1,2\nc,2,2\n")
    spikes = SpikeFolder.open(folder, ("a", "b", "c"), DATA, folder).renamed(("1", "2", "3"))
    assert [path.stem for path in spikes.files.values()] == ["a", "b", "c"]
    assert spikes.exposures == {"1": slice(0, 2), "2": slice(1, 3), "3": slice(2, 4)}
    assert spikes.recording("3").exposure(0) == slice(2, 4)
    with pytest.raises(ValueError, match="shorter"):
        spikes.renamed(("1", "2"))


def test_every_exposure_is_checked_by_its_size(folder):
    spikes = SpikeFolder.open(folder, ("a", "b", "c"), DATA, folder)
    spikes.check(time_offset=3)
    with pytest.raises(UserError, match=r"a\.dat: 4 spike frames, none left by DATA\.SPIKE_TIME_OFFSET = 4"):
        spikes.check(time_offset=4)
    with pytest.raises(UserError, match=r"3 files beside 2 in .* \(without a counterpart c\)"):
        SpikeFolder.open(folder, ("a", "b"), DATA, folder)
