"""Restores one temporal window of frames of any size: padded, with optical flow of whole frames, in tiles."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from spikevrt.config import Config
from spikevrt.config.keys import AUTO
from spikevrt.data.clips.augmentation import Grid
from spikevrt.data.clips.batches import model_input, send, unit
from spikevrt.errors import UserError
from spikevrt.models import backbone, run_model
from spikevrt.models.half_weights import half_precision
from spikevrt.models.vrt import Flows
from spikevrt.restoration.memory import restoration_memory
from spikevrt.restoration.padding import Padding, plan_padding
from spikevrt.restoration.sources import Frame
from spikevrt.restoration.tiles import Tile, Tiling, least_tile, plan_tiles, tile_step
from spikevrt.system.device import half_type
from spikevrt.system.failures import out_of_memory
from spikevrt.system.memory import drop_frames, free_for_tensors

SIDES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128)
"""Sides of tiles that `auto` takes: few, so that what happens to be free changes results rarely."""
SMALL = 512 * 512
"""Frames of so many pixels are not worth the seconds that a look at their memory takes."""

FLOW_BYTES = 2 * 2 * 4 * 4 // 3 + 1
"""A pixel of a pair of frames: two flows of two float32 at 1, 1/4, 1/16 and 1/64 of the pixels."""
FRAME_BYTES = 3 * (1 + 3 * 4)
"""A pixel of a frame: three colours as uint8, and as float32 in a tile's result, the sum, and the frame's mean."""
INPUTS = ("blur", "counts", "bin_frames")
"""What a model is given of a sample; without spikes the first alone."""


class WindowRestorer:
    """Applies a model to temporal windows of DATA.CLIP_LEN frames.

    Args:
        model: a model with its weights, on its device.
        config: its configuration; TEST.TILE_SIZE and TEST.TILE_OVERLAP say how frames are cut.
        device: where it runs.
    """

    def __init__(self, model: nn.Module, config: Config, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device
        self.half = half_type(device, config.train.mixed_precision)
        self.vrt = backbone(model)
        self._tilings: dict[tuple[int, int, Fraction], Tiling] = {}
        self.last: Tiling | None = None
        """How the last window was cut."""

    @torch.no_grad()
    def restore(self, start: int, frames: Sequence[Frame], grid: Grid, known: dict[int, Flows] | None = None) -> Tensor:
        """Restore T frames, which are known by their numbers from `start` on: (T,3,H,W) float32 on the CPU.

        Args:
            start: number of the first frame in its stream.
            frames: the frames.
            grid: how their pixels and those of their spikes are related.
            known: the flows between a frame of the same stream and the next one, by its number; those of this window
                replace them. None = nothing is known. Streams may take turns, each with its own.
        """
        blur = torch.stack([frame.blur for frame in frames])
        grid = grid if self.config.model.use_spike else Grid()
        raw = {"blur": blur}
        if self.config.model.use_spike:
            counted = [frame.voxels(self.config.data) for frame in frames]
            counts, bin_frames = (torch.stack(parts) for parts in zip(*counted, strict=True))
            raw |= {"counts": counts, "bin_frames": bin_frames}
        return self._restore(start, raw, grid.ratio, known)

    @torch.no_grad()
    def restore_sample(self, raw: Mapping[str, Any]) -> Tensor:
        """Restore the frames of a collated sample of the data set: (1,T,3,H,W) float32 on the CPU."""
        spikes = raw.get("counts", raw["blur"])
        ratio = Fraction(spikes.shape[-1], raw["blur"].shape[-1])
        return self._restore(0, {name: raw[name][0] for name in INPUTS if name in raw}, ratio, None)[None]

    def _restore(self, start: int, raw: dict[str, Tensor], ratio: Fraction, known: dict[int, Flows] | None) -> Tensor:
        H, W = raw["blur"].shape[-2:]
        padding = plan_padding((H, W), self.config.model.window_size, ratio)
        raw = raw | {"blur": padding.frames(raw["blur"])}
        if "counts" in raw:
            raw |= {"counts": padding.spikes(raw["counts"])}
        with half_precision(self.model, self.device, self.half):
            flows = self._flows_of(start, raw["blur"], {} if known is None else known)
            return padding.crop(self._that_fits(raw, flows, padding))

    def _that_fits(self, raw: dict[str, Tensor], flows: Flows | None, padding: Padding) -> Tensor:
        """The result (T,3,H,W) for padded frames; tiles that are chosen here become smaller if memory runs out."""
        while True:
            tiling = self.tiling(padding)
            try:
                return self._in_tiles(raw, flows, padding, tiling)
            except (MemoryError, RuntimeError) as error:
                smaller = self._smaller(padding, tiling) if out_of_memory(error) else None
                if smaller is None:
                    raise
                drop_frames(error)
            self._tilings[key_of(padding)] = smaller
            torch.cuda.empty_cache()

    def _in_tiles(self, raw: dict[str, Tensor], flows: Flows | None, padding: Padding, tiling: Tiling) -> Tensor:
        self.last = tiling
        if tiling.whole:
            return self._run(raw, flows)
        out = torch.zeros(raw["blur"].shape)
        for tile in tiling.tiles:
            parts = raw | {"blur": tile.cut(raw["blur"])}
            if "counts" in raw:
                parts |= {"counts": tile.cut(raw["counts"], padding.ratio)}
            restored = self._run(parts, None if flows is None else cut_flows(flows, tile))
            tile.cut(out).add_(restored * tile.weight)
        return out

    def _run(self, raw: dict[str, Tensor], flows: Flows | None) -> Tensor:
        batch = send({name: x[None] for name, x in raw.items()}, self.device)
        rgb, voxels = model_input(batch, self.config.data.norm)
        return run_model(self.model, rgb, voxels, flows)[0].float().cpu()

    def _flows_of(self, start: int, blur: Tensor, known: dict[int, Flows]) -> Flows | None:
        """The flows of a window of padded frames (T,3,H,W), each pair of frames once for all windows and tiles."""
        if self.vrt is None:
            return None
        pairs = range(start, start + len(blur) - 1)
        for i in known.keys() - set(pairs):
            del known[i]
        for i in pairs:
            if i not in known:
                pair = unit(blur[i - start : i - start + 2].to(self.device))
                known[i] = self.vrt.flows(pair[None])
        backward, forward = zip(*(known[i] for i in pairs), strict=True)
        return joined(backward), joined(forward)

    def tiling(self, padding: Padding) -> Tiling:
        """How frames are cut."""
        key = key_of(padding)
        if key not in self._tilings:
            wanted = self.config.test.tile_size
            side = self._fitting(padding) if wanted == AUTO else None if wanted is None else int(wanted)
            self._tilings[key] = self._planned(padding, side)
        return self._tilings[key]

    def _planned(self, padding: Padding, side: int | None) -> Tiling:
        least = self._least(padding)
        if side is not None and side < least:
            raise UserError(
                f"TEST.TILE_SIZE = {side}: below {least}, the least for the model's windows and this ratio of pixels; "
                f"give {least} or more, or auto"
            )
        step = tile_step(self.config.model.window_size, padding.ratio)
        return plan_tiles(padding.padded, side, self.config.test.tile_overlap, step)

    def _least(self, padding: Padding) -> int:
        window = self.config.model.window_size
        return least_tile(window, tile_step(window, padding.ratio))

    def _smaller(self, padding: Padding, tiling: Tiling) -> Tiling | None:
        """Smaller tiles than those for which memory ran out; None if there are none, or their size was given."""
        least = self._least(padding)
        sides = [side for side in SIDES if least <= side < tiling.side]
        return self._planned(padding, sides[0]) if sides and self.config.test.tile_size == AUTO else None

    def _fitting(self, padding: Padding) -> int | None:
        """The largest side of `SIDES` that memory allows; None = whole frames fit, or are small."""
        H, W = padding.padded
        least = self._least(padding)
        if H * W <= SMALL or self.vrt is None:
            return None
        needed = restoration_memory(self.config, self.vrt.backends, self.half, self.device.type == "cuda")
        free = free_for_tensors(self.device) - self._of_whole_frames(padding) + needed.fixed
        if needed.peak((H, W)) <= free:
            return None
        fitting = [side for side in SIDES if side >= least and needed.peak((side, side)) <= free]
        return max(fitting, default=least)

    def _of_whole_frames(self, padding: Padding) -> int:
        """Bytes beside the model: flows on its device; on the CPU also frames and results of a window."""
        H, W = padding.padded
        frames = self.config.data.clip_len
        flows = FLOW_BYTES * (frames - 1)
        return H * W * (flows if self.device.type == "cuda" else flows + FRAME_BYTES * frames)


def key_of(padding: Padding) -> tuple[int, int, Fraction]:
    """Frames with the same key are cut alike."""
    return *padding.padded, padding.ratio


def joined(flows: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Flows of pairs, each (1,1,2,h,w) at every scale, in one: (1,T-1,2,h,w) at every scale."""
    return [torch.cat(scale, 1) for scale in zip(*flows, strict=True)]


def cut_flows(flows: Flows, tile: Tile) -> Flows:
    """The flows of a tile, as contiguous as a model makes them; it starts at whole pixels of every scale."""
    backward, forward = (
        [tile.cut(x, Fraction(1, 2**level)).contiguous() for level, x in enumerate(side)] for side in flows
    )
    return backward, forward
