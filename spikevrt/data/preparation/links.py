"""Clips of a downloaded data set, written as links."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from spikevrt.data.atomic import new_folder
from spikevrt.data.images import write_png
from spikevrt.data.layout import NOTES
from spikevrt.data.preparation.datasets import DownloadedClip
from spikevrt.data.simulator import write_geometry
from spikevrt.data.spike_file import SpikeFile
from spikevrt.data.spike_geometry import SpikeGeometry
from spikevrt.data.windows import WINDOWS, write_windows
from spikevrt.errors import UserError

WHITE_RATE = 0.6
"""Firing rate of white in SREDS."""


def link_clip(clip: DownloadedClip, root: Path) -> bool:
    """Make `<root>/<split>/<clip>`; False where it is there already. It appears whole or not at all."""
    target = root / clip.split / clip.name
    if target.exists():
        return False
    if not clip.spikes:
        raise UserError(f"{clip.name}: no .dat files; unpack the spikes of the data set beside its frames")
    with new_folder(target) as folder:
        for name, files in (*clip.pictures.items(), ("spike", clip.spikes)):
            for stem, path in files.items():
                link(path, folder / name / f"{stem}{path.suffix}")
        if clip.blur_from_spikes:
            long_exposures(clip, folder / "blur")
        # A config.yaml that was downloaded may be wrong (Spk-GoPro's is): the data set's own geometry stands here.
        write_geometry(folder / "spike", "spike", clip.size)
        if clip.windows:
            write_windows(folder / "spike" / WINDOWS, clip.windows)
        (folder / NOTES).write_text(json.dumps({**clip.notes, "folders": sorted(clip.pictures)}, indent=1) + "\n")
    return True


def link(source: Path, target: Path) -> None:
    """A symbolic link, or a copy where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def long_exposures(clip: DownloadedClip, folder: Path) -> None:
    """Write the mean of all spikes of every file as its blurred frame."""
    for stem, path in clip.spikes.items():
        file = SpikeFile(path, SpikeGeometry(*clip.size))
        light = file.voxels(1)[0] / (file.frames * WHITE_RATE)
        grey = np.rint(np.clip(light, 0, 1) * 255).astype(np.uint8)
        write_png(folder / f"{stem}.png", np.repeat(grey[..., None], 3, -1))
