"""Training samples: T consecutive frames of a clip with their spikes, cropped and augmented.

All arrays stay uint8 until they are on the device.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from spikevrt.config import DataConfig
from spikevrt.data.clips.augmentation import Crop, Flips, centre_crop, check_crop, cut, random_crop, scaled
from spikevrt.data.clips.clip import Clip, find_clips
from spikevrt.data.clips.picture_cache import RamCache, machine_share
from spikevrt.data.clips.voxel_cache import VoxelCache
from spikevrt.data.files.images import read_image

Sample = dict[str, Any]
"""`blur`, `sharp` uint8 (T,3,H,W); `counts` (T,K,h,w) and `bin_frames` int64 (T,K) with spikes; `clip`, `stems`;
`draw`: the number in a run on which all randomness of the sample depends."""


class ClipDataset(Dataset[Sample]):
    """Samples of CLIP_LEN consecutive frames; in each clip one sample starts every CLIP_STRIDE frames.

    Args:
        data: the DATA section.
        split: TRAIN_SPLIT or VAL_SPLIT.
        augment: whether crops, flips, quarter turns and time reversal are random; otherwise the centre crop is used.
        use_spike: whether spikes are read.
        seed: seed of the augmentation.
        crop: side in RGB pixels; None = whole frames (only without augmentation).
        crop_name: what a message calls it.

    Raises:
        UserError: the split is missing or incomplete, or the crop does not fit.
    """

    def __init__(
        self,
        data: DataConfig,
        split: str,
        augment: bool,
        use_spike: bool,
        seed: int = 0,
        crop: int | None = None,
        crop_name: str = "DATA.CROP_SIZE =",
    ) -> None:
        self.data = data
        self.augment = augment
        self.use_spike = use_spike
        self.seed = seed
        self.crop = crop
        self.clips = find_clips(data, split, need_spikes=use_spike)
        if crop is not None:
            for clip in self.clips:
                check_crop(crop, clip.frame_size, clip.grid.step, crop_name)
        self.caches = [VoxelCache(clip.folder, clip.spikes, data) for clip in self.clips if clip.spikes is not None]
        self.ram = picture_cache(self.clips, data) if augment and data.ram_cache_gb else None
        self.samples = [
            (c, start)
            for c, clip in enumerate(self.clips)
            for start in range(0, len(clip.stems) - data.clip_len + 1, data.clip_stride)
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """The sample with an index, or for (index, draw), where only `draw` decides the augmentation."""
        index, draw = index if isinstance(index, tuple) else (index, index)
        c, start = self.samples[index]
        clip = self.clips[c]
        stems = clip.stems[start : start + self.data.clip_len]
        random = np.random.default_rng((self.seed, draw))
        crop = self._crop(clip, random)
        flips = Flips.draw(random) if self.augment else Flips()
        sample: Sample = {"clip": clip.name, "stems": list(stems), "draw": draw}
        for name, files in (("blur", clip.blurred), ("sharp", clip.sharp)):
            frames = np.stack([cut(self._picture(files[s]), crop, clip.frame_size, files[s]) for s in stems])
            sample[name] = as_tensor(flips.frames(frames.transpose(0, 3, 1, 2)))
        if self.use_spike:
            view = scaled(crop, clip.grid.ratio)
            voxels = [self.caches[c].voxels(s, view) for s in stems]
            counts, bin_frames = (np.stack(parts) for parts in zip(*voxels, strict=True))
            counts, bin_frames = flips.voxels(counts, bin_frames)
            sample |= {"counts": as_tensor(counts), "bin_frames": as_tensor(bin_frames)}
        return sample

    def _picture(self, path: Path) -> NDArray[np.uint8]:
        return read_image(path) if self.ram is None else self.ram.get(path, read_image)

    def _crop(self, clip: Clip, random: np.random.Generator) -> Crop:
        if self.crop is None:
            return (0, 0, *clip.frame_size)
        if self.augment:
            return random_crop(self.crop, clip.frame_size, clip.grid.step, random)
        return centre_crop(self.crop, clip.frame_size, clip.grid.step)


def picture_cache(clips: Sequence[Clip], data: DataConfig) -> RamCache:
    """A cache in shared memory for the blurred and sharp frames of all clips, of at most DATA.RAM_CACHE_GB."""
    files = [(path, clip.frame_size) for clip in clips for path in (*clip.blurred.values(), *clip.sharp.values())]
    return RamCache([path for path, _ in files], [size for _, size in files], machine_share(data.ram_cache_gb))


def as_tensor(x: NDArray) -> torch.Tensor:
    """Copy an array into a contiguous tensor."""
    return torch.from_numpy(np.ascontiguousarray(x))


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack the tensors of samples and list everything else; no sample is dropped."""
    return {
        key: torch.stack([s[key] for s in samples]) if isinstance(value, torch.Tensor) else [s[key] for s in samples]
        for key, value in samples[0].items()
    }


class DrawSampler(Sampler[tuple[int, int]]):
    """The (index, draw) pairs of a training run: a list that depends on the seed only, whatever batches are made of it.

    Args:
        samples: size of the data set.
        seed: seed of each epoch's permutation.
        start: first draw of the next batch; draws are counted over all processes from the run's start.
        rank: number of this process; the processes take draws in turn.
        world: number of processes.
    """

    def __init__(self, samples: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        self.samples = samples
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world = world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = -1, np.empty(0, np.int64)
        draw = self.start + self.rank
        while True:
            if draw // self.samples != epoch:
                epoch = draw // self.samples
                order = np.random.default_rng((self.seed, epoch)).permutation(self.samples)
            yield int(order[draw % self.samples]), draw
            draw += self.world
