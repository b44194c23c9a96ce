"""The public function: VRT's window attention on whole feature maps, with any backend."""

from torch import Tensor

from spikevrt_kernels.core.backends import form_of, resolve_backend
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.cpu.threads import window_attention_cpu
from spikevrt_kernels.window_attention.reference import window_attention_reference
from spikevrt_kernels.window_attention.relative_bias import RelativeBias
from spikevrt_kernels.window_attention.sdpa import window_attention_sdpa
from spikevrt_kernels.window_attention.triton.registered import window_attention_fused
from spikevrt_kernels.window_attention.windows import FRAMES, Size3

ATTEND = {
    "triton": window_attention_fused,
    "sdpa": window_attention_sdpa,
    "cpu": window_attention_cpu,
    "naive": window_attention_reference,
}


def window_attention(
    qkv: Tensor,
    offset: Tensor,
    bias: RelativeBias,
    heads: int,
    window: Size3,
    shift: Size3,
    mutual_offset: Tensor | None = None,
    backend: str = "auto",
    added: bool = False,
) -> Tensor:
    """Shifted-window self-attention; with `mutual_offset` also VRT's mutual attention.

    Padding tokens are zero before the projection and are not masked: their q, k, v equal the offsets. In mutual
    attention the two frames of a window attend each other: the tokens of frame 1 receive the attention of frame 2's
    queries on frame 1's keys and values, and the reverse. It has no position bias, and masks spatial regions only
    (VRT, Liang et al. 2022).

    Args:
        qkv: (B,D,H,W,3C), projections without their bias, with it if `added`; ordered [q|k|v], each [head, dim]; with
            mutual attention (B,D,H,W,6C), self-attention first.
        offset: (3C,) bias of the self-attention projection.
        bias: relative-position bias: its table, and the window that the table was made for.
        heads: number of heads; must divide C.
        window: (d,h,w), N = d*h*w tokens, at most (D,H,W) (see `effective_window`).
        shift: cyclic shift of each axis, below the window's size.
        mutual_offset: (h*w,3C) bias of the mutual projection at each place of a frame, or None.
        backend: auto, triton, sdpa or naive.
        added: whether the projection has added both offsets to qkv already. Then only padding, which exists inside
            this operator alone, gets them here, and their gradients are those of padding: 0 where nothing is padded.

    Returns:
        (B,D,H,W,C), or (B,D,H,W,2C) ordered [mutual|self]; the type of qkv.

    Raises:
        BackendError: `backend` cannot run.
        ValueError: the window of mutual attention does not have two frames, or the offset does not fit its places.
    """
    call = Call(qkv, offset, bias, heads, window, shift, mutual_offset, added=added)
    require_two_frames(call)
    chosen = resolve_backend(backend, "window_attention", qkv, head_width=call.channels // heads)
    return ATTEND[form_of(chosen, qkv)](call)


def require_two_frames(call: Call) -> None:
    """Raise a `ValueError` unless mutual attention has two frames, and an offset for each place of a frame."""
    window, offset = call.window, call.mutual_offset
    if offset is not None and (window[0] != FRAMES or offset.shape[0] != call.tokens(True)):
        raise ValueError(
            f"window_attention: mutual attention in a window {window} with an offset for {offset.shape[0]} places; "
            "it takes two frames, and an offset for each place of one"
        )
