"""The public functions: the GEGLU block and the fusing GEGLU MLP with any backend."""

from torch import Tensor

from spikevrt_kernels.core.backends import resolve_backend
from spikevrt_kernels.core.residual_blocks import Norm
from spikevrt_kernels.geglu_block.reference import GEGLUWeights, geglu_reference
from spikevrt_kernels.geglu_block.sdpa import geglu_sdpa
from spikevrt_kernels.geglu_block.triton.registered import geglu_fused

RUN = {"triton": geglu_fused, "sdpa": geglu_sdpa, "naive": geglu_reference}


def require_shapes(
    x: Tensor, aligned: Tensor | None, norm: Norm | None, weights: GEGLUWeights, scale: Tensor | None
) -> None:
    """Refuse tensors that do not fit each other, past whose ends a kernel would read.

    Raises:
        ValueError: one does not; the message tells its shape.
    """
    C, R, inputs = x.shape[-1], weights.fc2[0].shape[-1], 1 if aligned is None else 3
    wanted = [(R, inputs * C), (R,), (R, inputs * C), (R,), (C, R), (C,)]
    shapes = list(zip([t for layer in weights for t in layer], wanted, strict=True))
    if aligned is not None:
        B, T, *size = x.shape
        shapes.append((aligned, (2, B, T - 1, *size)))
    shapes += [(t, (C,)) for t in norm or ()]
    if scale is not None:
        shapes.append((scale, x.shape[:1]))
    for tensor, shape in shapes:
        if tensor.shape != shape:
            raise ValueError(
                f"geglu_block: a tensor is {tuple(tensor.shape)} where {tuple(shape)} fits x {tuple(x.shape)}"
            )


def geglu_block(
    x: Tensor, norm: Norm | None, weights: GEGLUWeights, scale: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """x + scale * fc2(gelu(fc11 z) * fc12 z), z = LN(x) with eps 1e-5: a pre-norm GEGLU block (Shazeer 2020).

    Statistics, GELU (exact) and sums are computed in at least float32. Under autocast the products are computed in
    its type.

    Args:
        x: (B,...,C) floating point, samples first and channels last.
        norm: weight (C,) and bias (C,) of the layer norm, or None: z = x.
        weights: layers with Cin = C and any number of hidden channels.
        scale: (B,) float32, one number a sample, or None = 1; drop path's 0 or 1 / keep. It gets no gradient.
        backend: auto, triton, sdpa or naive.

    Returns:
        x's shape and type.

    Raises:
        BackendError: `backend` cannot run.
        ValueError: shapes do not fit each other.
    """
    require_shapes(x, None, norm, weights, scale)
    scale = None if scale is None else scale.detach()
    return RUN[resolve_backend(backend, "geglu_block", x)](x, None, norm, weights, scale)


def geglu_fuse(x: Tensor, aligned: Tensor, weights: GEGLUWeights, backend: str = "auto") -> Tensor:
    """fc2(gelu(fc11 z) * fc12 z), z = a frame, the later and the earlier frame aligned to it, along channels.

    `triton` does not make z, whose three parts stay where they are.

    Args:
        x: (B,T,h,w,C) floating point.
        aligned: (2,B,T-1,h,w,C): aligned[0][:, t] is frame t+1 aligned to t, aligned[1][:, t-1] is frame t-1 aligned
            to t. The last frame has no later one and the first no earlier one: zeros stand for them.
        weights: layers with Cin = 3C and any number of hidden channels.
        backend: auto, triton, sdpa or naive.

    Returns:
        (B,T,h,w,C) in the type of the products: autocast's, else x's.

    Raises:
        BackendError: `backend` cannot run.
        ValueError: shapes do not fit each other.
    """
    require_shapes(x, aligned, None, weights, None)
    return RUN[resolve_backend(backend, "geglu_block", x, aligned)](x, aligned, None, weights, None)
