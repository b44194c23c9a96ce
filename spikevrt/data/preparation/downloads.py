"""Links downloaded data sets into the unified layout."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spikevrt.data.clips.clip import NOTES_NAME
from spikevrt.data.files.atomic import new_folder
from spikevrt.data.files.images import image_size, write_png
from spikevrt.data.files.listing import folders_below, folders_in
from spikevrt.data.files.stems import by_stem
from spikevrt.data.simulation.camera import write_geometry
from spikevrt.data.spikes.exposures import write_exposure_table
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.data.spikes.tfp import WHITE_RATE
from spikevrt.errors import UserError

SPLITS = {"train": "train", "test": "val", "val": "val", "valid": "val"}
"""Name of a split in the data sets -> its name in the unified layout."""
SDM_FRAMES, SDM_MARGIN = 137, 20
"""Spike frames in a file of S-SDM, and how many of them lie before (and after) the exposure."""
SREDS_STEM = re.compile(r"(?P<sequence>.+)_part\d+_key_id\d+$")


@dataclass(frozen=True)
class DownloadedClip:
    """The files of one clip by stem, and how they are stored."""

    split: str
    name: str
    pictures: dict[str, dict[str, Path]]
    """Folder of the unified layout (`blur`, `blur_gamma`, `sharp`) -> stem -> file."""
    spikes: dict[str, Path]
    size: tuple[int, int]
    """(h,w) of the spikes."""
    notes: dict[str, object] = field(default_factory=dict)
    exposures: dict[str, slice] = field(default_factory=dict)
    """Spike frames of each exposure inside its file; empty if every file is one exposure."""
    blur_from_spikes: bool = False
    """Whether blurred frames are missing: the mean of all spikes of a file then serves as the long exposure."""


def spk_gopro(source: Path) -> Iterator[DownloadedClip]:
    """Clips in `GOPRO_Large/{train,test}/<clip>/{blur,blur_gamma,sharp}`, `GOPRO_Large_spike_seq/.../<clip>/spike`."""
    frames, spikes = source / "GOPRO_Large", source / "GOPRO_Large_spike_seq"
    for split, folder in split_folders(require_folder(spikes)):
        for clip in (p for p in folders_in(folder) if (p / "spike").is_dir()):
            rgb = frames / folder.name / clip.name
            pictures = {name: by_stem(rgb / name, None) for name in ("blur", "blur_gamma", "sharp")}
            found = {name: files for name, files in pictures.items() if files}
            require_pictures(rgb, found)
            height, width = first_size(found["sharp"])
            yield DownloadedClip(
                split=split,
                name=clip.name,
                pictures=found,
                spikes=by_stem(clip / "spike", ".dat"),
                size=(height // 2, width // 2),
                notes={"set": "Spk-GoPro"},
            )


def spk_x4k(source: Path) -> Iterator[DownloadedClip]:
    """Clips in `{split}_blurry_{N}`, `{split}_spike_2xds_{N}`, `{split}_fullRGB`; N spike frames per blurred frame."""
    for blurry in (p for p in folders_in(require_folder(source)) if "_blurry_" in p.name):
        split, _, count = blurry.name.partition("_blurry_")
        spikes, sharp = source / f"{split}_spike_2xds_{count}", source / f"{split}_fullRGB"
        for folder in picture_folders(blurry):
            inside = folder.relative_to(blurry)
            blurred = by_stem(folder, None)
            rgb = {stem: path for stem, path in by_stem(sharp / inside, None).items() if stem in blurred}
            pictures = {name: files for name, files in (("blur", blurred), ("sharp", rgb)) if files}
            require_pictures(sharp / inside, pictures)
            height, width = first_size(blurred)
            name = "-".join((*inside.parts, count))
            yield DownloadedClip(
                split=SPLITS.get(split, split),
                name=name,
                pictures=pictures,
                spikes=by_stem(spikes / inside, ".dat"),
                size=(height // 2, width // 2),
                notes={"set": "Spk-X4K1000FPS", "spike_frames": int(count) if count.isdecimal() else count},
            )


def sreds(source: Path) -> Iterator[DownloadedClip]:
    """Clips of `<seq>_part<k>_key_id<centre>.dat` and pictures of the same stem in a split; one clip per sequence."""
    for split, folder in split_folders(require_folder(source)):
        sequences: dict[str, dict[str, Path]] = {}
        for stem, path in below_by_stem(folder, ".dat").items():
            match = SREDS_STEM.match(stem)
            if match:
                sequences.setdefault(match["sequence"], {})[stem] = path
        pictures = below_by_stem(folder, None)
        for sequence, spikes in sequences.items():
            sharp = {stem: pictures[stem] for stem in spikes if stem in pictures}
            require_pictures(folder, {"sharp": sharp} if sharp else {}, blurred=False)
            notes: dict[str, object] = {"set": "SREDS", "blur": "mean of all spikes of a file, grey"}
            yield DownloadedClip(
                split=split,
                name=sequence,
                pictures={"sharp": sharp},
                spikes=spikes,
                size=first_size(sharp),
                notes=notes,
                blur_from_spikes=True,
            )


def s_sdm(source: Path) -> Iterator[DownloadedClip]:
    """Clips in `GOPRO/{split}/spike_data/<clip>/*.dat` next to folders named `*blur*` and `*sharp*` (or `*gt*`)."""
    root = source / "GOPRO" if (source / "GOPRO").is_dir() else source
    for split, folder in split_folders(require_folder(root)):
        sides = {"blur": ("blur",), "sharp": ("sharp", "gt")}
        for clip in folders_in(require_folder(folder / "spike_data")):
            pictures: dict[str, dict[str, Path]] = {}
            for name, words in sides.items():
                for side in (p for p in folders_in(folder) if any(word in p.name.lower() for word in words)):
                    files = by_stem(side / clip.name, None)
                    if files:
                        pictures.setdefault(name, files)
            require_pictures(folder, pictures)
            spikes = by_stem(clip, ".dat")
            size = spike_size(next(iter(spikes.values())), first_size(pictures["sharp"]), SDM_FRAMES)
            exposure = slice(SDM_MARGIN, SDM_FRAMES - SDM_MARGIN)
            yield DownloadedClip(
                split=split,
                name=clip.name,
                pictures=pictures,
                spikes=spikes,
                size=size,
                notes={"set": "S-SDM"},
                exposures=dict.fromkeys(spikes, exposure),
            )


DATASETS: dict[str, Callable[[Path], Iterator[DownloadedClip]]] = {
    "spk-gopro": spk_gopro,
    "spk-x4k": spk_x4k,
    "sreds": sreds,
    "s-sdm": s_sdm,
}
"""The functions that find the clips of a download, by the data set's name on the command line."""


def split_folders(root: Path) -> list[tuple[str, Path]]:
    """(name in the unified layout, folder) of the splits below `root`; without splits, all is validation data."""
    found = [(ours, root / theirs) for theirs, ours in SPLITS.items() if (root / theirs).is_dir()]
    return found or [("val", root)]


def picture_folders(root: Path) -> list[Path]:
    """The folders at or below `root` that contain pictures."""
    return [folder for folder in folders_below(root) if by_stem(folder, None)]


def below_by_stem(root: Path, suffix: str | None) -> dict[str, Path]:
    """The files of all folders at or below `root` by stem, as `by_stem` lists them.

    Raises:
        UserError: two folders hold a file of the same stem.
    """
    found: dict[str, Path] = {}
    for folder in folders_below(root):
        for stem, path in by_stem(folder, suffix).items():
            other = found.setdefault(stem, path)
            if other != path:
                raise UserError(f"{path}: is in {other.parent} too; a frame has one file, remove one of them")
    return found


def first_size(files: dict[str, Path]) -> tuple[int, int]:
    """(H,W) of the first picture of a folder."""
    return image_size(files[min(files)])


def spike_size(path: Path, frame: tuple[int, int], count: int) -> tuple[int, int]:
    """(h,w) of the spikes: the aspect ratio of the RGB frames, and a file holds `count` packed frames."""
    bits = path.stat().st_size * 8
    pixels = bits // count
    height = round((pixels * frame[0] / frame[1]) ** 0.5)
    width = pixels // max(height, 1)
    if bits % count or height * width != pixels or height * frame[1] != width * frame[0]:
        raise UserError(
            f"{path}: {bits // 8} bytes are not {count} packed frames of the shape {frame[0]}x{frame[1]}; "
            "python -m spikevrt.identify says what it is"
        )
    return height, width


def require_folder(folder: Path) -> Path:
    """Return `folder`, or raise a `UserError` if it does not exist."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the folder that the download was unpacked in")
    return folder


def require_pictures(folder: Path, pictures: dict[str, dict[str, Path]], blurred: bool = True) -> None:
    """Raise a `UserError` if there are no sharp frames, or no blurred ones where they are needed."""
    has_blurred = not blurred or any(name.startswith("blur") for name in pictures)
    if "sharp" not in pictures or not has_blurred:
        missing = "blurred frames" if "sharp" in pictures else "sharp frames"
        raise UserError(f"{folder}: no {missing} of this name; unpack the RGB part of the data set there")


def link_clip(clip: DownloadedClip, root: Path) -> bool:
    """Make `<root>/<split>/<clip>` completely or not at all; False if it exists already."""
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
        # A downloaded config.yaml may be wrong (Spk-GoPro's is), so the known geometry is written instead.
        write_geometry(folder / "spike", "spike", clip.size)
        if clip.exposures:
            write_exposure_table(folder / "spike", clip.exposures)
        (folder / NOTES_NAME).write_text(
            json.dumps({**clip.notes, "folders": sorted(clip.pictures)}, indent=1) + "\n", encoding="utf-8"
        )
    return True


def link(source: Path, target: Path) -> None:
    """Make a symbolic link, or a copy if the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def long_exposures(clip: DownloadedClip, folder: Path) -> None:
    """Write the mean of all spikes of each file as its blurred frame."""
    for stem, path in clip.spikes.items():
        file = SpikeFile(path, SpikeGeometry(*clip.size))
        light = file.voxels(1)[0] / (file.frames * WHITE_RATE)
        grey = np.rint(np.clip(light, 0, 1) * 255).astype(np.uint8)
        write_png(folder / f"{stem}.png", np.repeat(grey[..., None], 3, -1))
