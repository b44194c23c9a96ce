"""CUDA's autocast for CPU tensors: casts what a GPU would cast, on a machine without one.

The two devices' autocasts differ: a layer norm of half features runs in float32 on CUDA, and in half on the CPU.
Tensors without storage that pretend to live on CUDA would be simpler, but a PyTorch built without CUDA cannot run
every operator on them ("not linked with support for cuda devices"). So operators get CUDA's rules in the dispatcher,
at the key where the CPU's own rules stand, for as long as the context lasts.

The rules are those of `aten/src/ATen/autocast_mode.h`; a test holds their names to the dispatcher's own list.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.library import Library, fallthrough_kernel
from torch.utils._pytree import tree_leaves, tree_map

CPU_KEY, CUDA_KEY = "AutocastCPU", "AutocastCUDA"
OVERRIDES = "(?s).*Overriding a previously registered kernel"
"""A warning of PyTorch that is expected."""


def named(text: str) -> frozenset[str]:
    """Operators by their names in ATen."""
    return frozenset(text.split())


LOWER = named(
    "_convolution _convolution.deprecated conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d.input "
    "conv_transpose3d.input convolution cudnn_convolution cudnn_convolution_transpose prelu addmm addmv addr matmul "
    "einsum mm mv linalg_vecdot linear addbmm baddbmm bmm chain_matmul linalg_multi_dot _thnn_fused_lstm_cell "
    "_thnn_fused_gru_cell lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell _scaled_dot_product_flash_attention "
    "scaled_dot_product_attention"
)
"""Operators that run in autocast's type."""
FLOAT32 = named(
    "acos asin cosh erfinv exp expm1 log log10 log1p log2 reciprocal rsqrt sinh tan pow.Scalar pow.Tensor_Scalar "
    "pow.Tensor_Tensor softplus layer_norm native_layer_norm group_norm rms_norm frobenius_norm.dim nuclear_norm "
    "nuclear_norm.dim cosine_similarity poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d "
    "hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss "
    "multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits "
    "dist pdist cdist renorm logsumexp linalg_vector_norm linalg_matrix_norm linalg_matrix_norm.str_ord "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d "
    "upsample_bicubic2d _upsample_bicubic2d_aa norm.Scalar norm.ScalarOpt_dim"
)
"""Their inputs are cast to float32 first (CUDA asks `norm` for a float32 result instead: the same but for a cast)."""
FLOAT32_OUT = named("prod prod.dim_int softmax.int log_softmax.int cumprod cumsum sum sum.dim_IntList")
"""Operators with a float32 result, unless the caller gives a type."""
WIDEST = named("addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add")
"""Operators that run in the widest type of their inputs."""


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def operators_with(key: str) -> frozenset[str]:
    """ATen operators for which PyTorch has a kernel at this key."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    names = (name for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::"))
    return frozenset(name.removeprefix("aten::") for name in names if has(name, key))


def overload(name: str) -> Any:
    """`layer_norm` -> `torch.ops.aten.layer_norm.default`."""
    packet, _, variant = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), variant or "default")


def floating(x: object) -> bool:
    """Whether autocast considers an argument."""
    return isinstance(x, Tensor) and x.is_floating_point()


def cast(dtype: torch.dtype, arguments: Arguments) -> Any:
    """Arguments with all floating tensors, except float64 ones, cast to a type."""
    return tree_map(lambda x: x.to(dtype) if floating(x) and x.dtype != torch.float64 else x, arguments)


def in_float32(arguments: Arguments) -> Any:
    """Call the operator with float32 inputs."""
    return cast(torch.float32, arguments)


def in_half(arguments: Arguments) -> Any:
    """Call the operator with inputs in autocast's type."""
    return cast(torch.get_autocast_dtype("cpu"), arguments)


def in_widest(arguments: Arguments) -> Any:
    """Call the operator with float32 inputs if any of them is float32."""
    types = {x.dtype for x in tree_leaves(arguments) if floating(x)}
    return cast(torch.float32, arguments) if torch.float32 in types else arguments


def for_float32(arguments: Arguments) -> Arguments:
    """Call the operator with `dtype=float32`, unless a type is given."""
    args, kwargs = arguments
    if not floating(args[0]) or any(isinstance(a, torch.dtype) for a in (*args, *kwargs.values())):
        return arguments
    return args, kwargs | {"dtype": torch.float32}


def kernel(operator: Any, rule: Callable[[Arguments], Any]) -> Callable[..., Any]:
    """The function that the dispatcher calls for `operator` under autocast."""

    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = rule((args, kwargs))
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, CPU_KEY))):
            return operator(*args, **kwargs)

    return call


@contextmanager
def cuda_autocast() -> Iterator[None]:
    """While active, `torch.autocast("cpu", ...)` casts what `torch.autocast("cuda", ...)` would, in every thread."""
    on_cpu, on_cuda = operators_with(CPU_KEY), operators_with(CUDA_KEY)
    library = Library("aten", "IMPL")
    kernels: dict[str, Callable[..., Any]] = dict.fromkeys(on_cpu - on_cuda, fallthrough_kernel)
    # Products keep the CPU's own kernels, which hold the cast weights of a whole region as CUDA's do.
    rules = {in_half: LOWER - on_cpu, in_float32: FLOAT32, for_float32: FLOAT32_OUT, in_widest: WIDEST}
    for rule, names in rules.items():
        kernels |= {name: kernel(overload(name), rule) for name in names & on_cuda}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", OVERRIDES)
            for name, replacement in kernels.items():
                library.impl(name, replacement, CPU_KEY, allow_override=True)
        yield
    finally:
        library._destroy()
