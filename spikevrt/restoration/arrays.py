"""Frames and spikes that are in memory already: NumPy arrays or tensors, in the layouts that people have."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikevrt.config import DataConfig
from spikevrt.errors import UserError, shown
from spikevrt.restoration.sources import Frame, Voxels
from spikevrt_kernels.voxelize import frames_per_bin, voxelize

Array = NDArray | Tensor
Spikes = Array | Sequence[Array]
COLOURS = 3


class Kind(NamedTuple):
    """How someone holds a frame; results come back the same way."""

    tensor: bool
    last: bool
    """Whether colours are the last axis, otherwise the first."""
    bytes: bool
    """uint8, otherwise floats in [0,1]."""

    @classmethod
    def of(cls, frame: Array) -> "Kind":
        """The kind of a frame (H,W,3) or (3,H,W).

        Raises:
            UserError: it is no array or tensor, no picture in colour, or neither uint8 nor floating.
        """
        tensor = isinstance(frame, Tensor)
        if not isinstance(frame, Tensor | np.ndarray):
            raise UserError(f"frame of type {type(frame).__name__}: must be a NumPy array or a tensor")
        shape = tuple(frame.shape)
        if len(shape) != 3 or COLOURS not in (shape[0], shape[-1]) or 0 in shape:
            raise UserError(f"frame of shape {shown(shape)}: must be (H,W,3) or (3,H,W), in RGB")
        is_bytes = frame.dtype == (torch.uint8 if tensor else np.uint8)
        if not is_bytes and not (frame.is_floating_point() if isinstance(frame, Tensor) else frame.dtype.kind == "f"):
            raise UserError(f"frame of type {frame.dtype}: must be uint8, or floating with values in [0,1]")
        return cls(tensor, shape[-1] == COLOURS, is_bytes)

    def size(self, frame: Array) -> tuple[int, int]:
        """(H,W) of a frame of this kind."""
        return (frame.shape[0], frame.shape[1]) if self.last else (frame.shape[1], frame.shape[2])

    def read(self, frame: Array) -> Tensor:
        """A frame of this kind as (3,H,W), uint8 or float32, on the CPU.

        Raises:
            UserError: it is of another kind, or floating with values that are not in [0,1].
        """
        if Kind.of(frame) != self:
            raise UserError(f"frame of shape {shown(tuple(frame.shape))}, {frame.dtype}: unlike the first frame")
        x = frame.detach().cpu() if isinstance(frame, Tensor) else self._own(frame)
        x = (x.permute(2, 0, 1) if self.last else x).contiguous()
        if not self.bytes and not bool(((x >= 0) & (x <= 1)).all()):
            raise UserError(f"frame with values from {float(x.min()):.4g} to {float(x.max()):.4g}: must be in [0,1]")
        return x if self.bytes else x.float()

    def _own(self, frame: NDArray) -> Tensor:
        """A copy: PyTorch takes no negative strides, no other order of bytes, and nothing that may not be written."""
        return torch.from_numpy(np.array(frame, np.uint8 if self.bytes else np.float32, order="C"))

    def write(self, restored: Tensor) -> Array:
        """A restored frame (3,H,W) in [0,1] as a frame of this kind."""
        x = (restored * 255).round().to(torch.uint8) if self.bytes else restored
        x = (x.permute(1, 2, 0) if self.last else x).contiguous()
        return x if self.tensor else x.numpy()


def length_of(name: str, things: object) -> int:
    """How many frames or spikes there are; the message calls them `name`.

    Raises:
        UserError: they cannot be counted, as of an iterator.
    """
    try:
        return len(things)  # type: ignore[arg-type]
    except TypeError:
        kind = type(things).__name__
        raise UserError(f"{name} of type {kind}: must be an array or a list; stream() takes iterators") from None


def pair_of(one: object) -> tuple[Any, Any]:
    """An element of a stream, a frame or a pair of a frame and its spikes, as a pair; None = without spikes.

    Raises:
        UserError: it has another number of parts.
    """
    if not isinstance(one, tuple | list):
        return one, None
    if len(one) != 2:
        raise UserError(f"{len(one)} things for one frame of a stream: give a frame, or a pair (frame, spikes)")
    return one[0], one[1]


def spikes_of(spikes: Array | None) -> NDArray[np.uint8]:
    """The spikes of one exposure (n,h,w), row 0 on top, as bytes of 0 and 1.

    Raises:
        UserError: there are none, or they have another shape or type, or other values.
    """
    if spikes is None:
        raise UserError("the model needs spikes, and none were given; give those of each exposure, (n,h,w)")
    x = spikes.cpu().numpy() if isinstance(spikes, Tensor) else np.asarray(spikes)
    if x.ndim != 3 or x.dtype not in (np.bool_, np.uint8):
        raise UserError(f"spikes of shape {shown(x.shape)}, {x.dtype}: must be (n,h,w) for each frame, bool or uint8")
    if x.size == 0:
        raise UserError(f"spikes of shape {shown(x.shape)}: an exposure has at least one spike frame (n,h,w)")
    if x.max() > 1:
        raise UserError(f"spikes with values up to {x.max()}: must be 0 and 1, one value for each pixel")
    return x.astype(np.uint8, copy=False)


def frame_in_memory(picture: Tensor, spikes: NDArray[np.uint8] | None) -> Frame:
    """A frame (3,H,W) with the spikes (n,h,w) of its exposure."""

    def count(data: DataConfig) -> Voxels:
        if spikes is None:
            raise ValueError("voxels of a frame without spikes")
        offset = data.spike_time_offset
        exposed = spikes[max(offset, 0) : len(spikes) + min(offset, 0)]
        n, h, w = exposed.shape
        if n == 0:
            raise UserError(f"DATA.SPIKE_TIME_OFFSET = {offset}: leaves none of {len(spikes)} spike frames; lower it")
        counts = voxelize(exposed.reshape(n, -1), h, w, data.k, packed=False, flip=False)
        return torch.from_numpy(counts), torch.from_numpy(frames_per_bin(n, data.k))

    return Frame(picture, count)
