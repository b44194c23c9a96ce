"""Kernels broken on purpose: cases whose backend `triton` computes the same as `sdpa`, except for one fault.

Each case runs in a process of its own, because a fault may crash or block its process, as a real kernel may.
"""

import dataclasses
import os
import signal
import time
from functools import partial

import torch

from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case

SMALL = temporal_attention_case(1, 8, 2, 3, 8, 16, 2)
STATE = {"poisoned": False, "runs": 0}
"""Of this process, as of a device."""


def broken(fault, case=SMALL):
    """The case with a fault (a function of this module) in its kernel; None = a right one."""
    return dataclasses.replace(case, run=partial(run, fault, case.run))


def run(fault, right, inputs, backend):
    if STATE["poisoned"]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if backend != "triton":
        return right(inputs, backend)
    out = right(inputs, "sdpa")
    return out if fault is None else fault(out)


class Changed(torch.autograd.Function):
    """The same forward, a changed gradient."""

    @staticmethod
    def forward(ctx, x, change):
        ctx.change = change
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return ctx.change(grad.clone()), None


def in_gradient(change, out):
    """A fault of the backward alone."""
    return Changed.apply(out, change)


def exits(out):
    os._exit(7)


def crashes(out):
    os.kill(os.getpid(), signal.SIGSEGV)


def sleeps(out):
    time.sleep(600)


def poisons(out):
    STATE["poisoned"] = True
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def tells_tf32(out):
    raise RuntimeError(f"products of float32 are {torch.backends.cuda.matmul.fp32_precision}")


def cannot(out):
    raise BackendError("temporal_attention: attention backend triton cannot run: sm_75 is below sm_80; use sdpa")


def out_of_memory(out):
    raise torch.OutOfMemoryError("CUDA out of memory")


def no_context(out):
    raise RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`")


def is_ended(out):
    """By the system, where the machine has no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)


def first_has_no_memory(folder, out):
    """Memory is there only for the second process."""
    if (folder / "asked").exists():
        return out
    (folder / "asked").touch()
    raise torch.OutOfMemoryError("CUDA out of memory")


def wrong_elements(out):
    """One element in a thousand is another one's."""
    flat = out.clone().view(-1)
    with torch.no_grad():
        flat[::1000] = flat.roll(7)[::1000]
    return flat.view(out.shape)


def row_off(out):
    """One row of channels' pixels is 5% too large."""
    out = out.clone()
    out[:, 3, 1, 2] = out[:, 3, 1, 2] * 1.05
    return out


def stale_tile(out):
    """As a missing barrier does: in one run of many a tile holds what was there before."""
    STATE["runs"] += 1
    if STATE["runs"] != 2:
        return out
    out = out.clone()
    out[:, 2, 0, 4:] = out[:, 1, 0, 4:]
    return out


def unwritten(out):
    """The last row is not written: whatever was there stays there."""
    found = torch.empty_like(out)
    found[..., :-1, :] = out[..., :-1, :]
    return found


def wraps(out):
    """Where there are many clips, the last one lands at the place of the first."""
    out = out.clone()
    if len(out) > 1:
        out[0], out[-1] = out[-1].clone(), out[0].clone()
    return out


def slightly_off(grad):
    """Half a hundredth too large all over."""
    return grad * 1.005
