"""SpyNet: optical flow by a spatial pyramid (Ranjan and Black 2017), as VRT uses it.

N pairs, H x W pixels. Flow is (dx, dy) in pixels of its own scale and is computed in at least float32.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikevrt.models.checkpoint import keep_own_buffers, unwrap_params
from spikevrt.models.init import init_small
from spikevrt_kernels.core.precision import at_least_fp32
from spikevrt_kernels.flow_warp import flow_warp, pair

PYRAMID_LEVELS = 6
FLOW_SCALES = 4
"""Flow is returned at 1, 1/2, 1/4 and 1/8 of the resolution."""
SIDE_MULTIPLE = 32
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
REACH = 5 * 3
"""Rows above and below that five convolutions of 7x7 see."""
STRIP_PIXELS = 2**20
"""Without gradients, rows are corrected in strips of about so many pixels: 64 channels of a 4K pair take 4 GB."""


class BasicModule(nn.Module):
    """One level: 7x7 convolutions 8 -> 32 -> 64 -> 32 -> 16 -> 2 that predict the missing part of the flow."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 32, 64, 32, 16, 2)
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Conv2d(i, o, 7, padding=3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])
        init_small(layers[-2])

    def forward(self, x: Tensor) -> Tensor:
        """Correct the flow: (N,8,h,w), which is reference, warped support and current flow -> (N,2,h,w)."""
        rows = max(2 * REACH, STRIP_PIXELS // x.shape[-1])
        if torch.is_grad_enabled() or x.shape[-2] <= rows:
            return self.basic_module(x)
        return torch.cat([self._strip(x, top, rows) for top in range(0, x.shape[-2], rows)], -2)

    def _strip(self, x: Tensor, top: int, rows: int) -> Tensor:
        """The correction of some rows, from all rows that it depends on."""
        first = max(0, top - REACH)
        out = self.basic_module(x[..., first : top + rows + REACH, :])
        return out[..., top - first : top - first + rows, :]


class SpyNet(nn.Module):
    """Six levels, coarsest first; frames are resized to multiples of 32.

    A network whose flow is zero for all frames (see `hold_still`) is not computed until something trains it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(BasicModule() for _ in range(PYRAMID_LEVELS))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.register_load_state_dict_pre_hook(unwrap_params)
        self.register_load_state_dict_pre_hook(keep_own_buffers)
        self.register_load_state_dict_post_hook(look_at_weights)
        self._still: tuple[int, ...] | None = None
        """Versions of the last layers' parameters when they were found to be zero; None = they were not zero."""

    def hold_still(self) -> None:
        """Set the last layers to zero: with frozen random weights the flow would be noise and cost 30% of a forward."""
        with torch.no_grad():
            for parameter in self._last_parameters():
                parameter.zero_()
        self._still = self._versions()

    @property
    def is_still(self) -> bool:
        """Whether the flow is zero for all frames and no training is about to change that."""
        if self._still is None or torch.compiler.is_compiling():
            return False
        if torch.is_grad_enabled() and any(p.requires_grad for p in self._last_parameters()):
            return False
        if self._still != self._versions():
            self.look_at_weights()
        return self._still is not None

    def look_at_weights(self) -> None:
        """Check whether the flow is zero; on CUDA the host waits for the answer."""
        moving = any(p.is_meta or bool(p.any()) for p in self._last_parameters())
        self._still = None if moving else self._versions()

    def _last_parameters(self) -> list[nn.Parameter]:
        return [p for level in self.basic_module for p in level.basic_module[-1].parameters()]  # type: ignore[index, union-attr]

    def _versions(self) -> tuple[int, ...]:
        return tuple(p._version for p in self._last_parameters())

    def forward(self, ref: Tensor, supp: Tensor) -> list[Tensor]:
        """Flow that aligns `supp` to `ref`, both (N,3,H,W) in [0,1]: 4 tensors (N,2,H//2^s,W//2^s), finest first."""
        frames = torch.cat((ref, supp))
        pairs = torch.arange(len(frames), device=frames.device).view(2, -1)
        return self.flows(frames, pairs[0], pairs[1])

    def flows(self, frames: Tensor, ref: Tensor, supp: Tensor) -> list[Tensor]:
        """Flow of many pairs in one batch; the pyramid of each frame is computed once.

        Args:
            frames: (F,3,H,W) in [0,1].
            ref: (N,) indices of the frames to align to.
            supp: (N,) indices of the frames to be aligned.

        Returns:
            4 tensors (N,2,H//2^s,W//2^s), s = 0..3, (dx, dy) in pixels of that scale, at least float32.
        """
        if self.is_still:
            H, W = frames.shape[-2:]
            zero = at_least_fp32(frames).new_zeros
            return [zero(len(ref), 2, H // 2**scale, W // 2**scale) for scale in range(FLOW_SCALES)]
        with torch.autocast(frames.device.type, enabled=False):
            return self._flows(at_least_fp32(frames), ref, supp)

    def _flows(self, frames: Tensor, ref: Tensor, supp: Tensor) -> list[Tensor]:
        H, W = frames.shape[-2:]
        levels = self.pyramid(frames)
        coarsest = levels[0]
        flow = coarsest.new_zeros(len(ref), 2, coarsest.shape[2] // 2, coarsest.shape[3] // 2)
        flows: list[Tensor] = []
        for level, (image, net) in enumerate(zip(levels, self.basic_module, strict=True)):
            up = upsample_flow(flow, image.shape[-2:])
            warped = flow_warp(image[supp], up, padding="border")
            flow = net(torch.cat((image[ref], warped, up), 1)) + up
            scale = PYRAMID_LEVELS - 1 - level
            if scale < FLOW_SCALES:
                flows.insert(0, resize_flow(flow, (H // 2**scale, W // 2**scale)))
        return flows

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """Normalised frames at 6 levels, coarsest first."""
        size = [-(-s // SIDE_MULTIPLE) * SIDE_MULTIPLE for s in frames.shape[-2:]]
        image = F.interpolate(frames, size, mode="bilinear", align_corners=False)
        levels = [(image - self.mean) / self.std]
        for _ in range(PYRAMID_LEVELS - 1):
            levels.insert(0, F.avg_pool2d(levels[0], 2))
        return levels


def look_at_weights(spynet: SpyNet, loaded: object) -> None:
    """After loading: check whether the loaded weights give zero flow."""
    spynet.look_at_weights()


def upsample_flow(flow: Tensor, size: torch.Size) -> Tensor:
    """Double the size and the values of a flow; a missing row or column repeats the last one."""
    up = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
    bottom, right = size[0] - up.shape[2], size[1] - up.shape[3]
    return F.pad(up, (0, right, 0, bottom), mode="replicate") if bottom or right else up


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a flow; its values are in pixels of the new size."""
    (h, w), (H, W) = flow.shape[-2:], size
    resized = F.interpolate(flow, size, mode="bilinear", align_corners=False)
    return resized * pair(W / w, H / h, like=flow).view(1, 2, 1, 1)
