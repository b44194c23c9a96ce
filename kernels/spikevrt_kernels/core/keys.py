"""Keys of launches: launches with the same key run the same binary."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import ALIGNMENT, Launch, Pointer, pointer

TYPE_NAMES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint8: "u8",
}


class Signature(NamedTuple):
    """What the launcher infers from the arguments of a launch."""

    types: dict[str, str]
    """Types by argument name, `constexpr` included."""
    constants: dict[str, Any]
    attributes: dict[tuple[int, ...], list[list[Any]]]
    """Divisibility by argument position."""


class Key(NamedTuple):
    """The binary of a launch, on one architecture."""

    kernel: str
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, str], ...]
    divisible: tuple[str, ...]
    """Pointers and numbers that are multiples of 16."""
    options: tuple[tuple[str, str], ...]


def key_of(launch: Launch) -> Key:
    """The key of a launch, whose tensors may be without storage."""
    types, constants, attributes = signature_of(launch)
    parameters = launch.kernel.params
    return Key(
        f"{launch.kernel.__module__}.{launch.kernel.__name__}",
        tuple(types.items()),
        tuple((name, repr(value)) for name, value in constants.items()),
        tuple(parameters[i].name for (i,) in attributes),
        tuple((name, repr(value)) for name, value in sorted(launch.options.items())),
    )


def by_key(launches: Iterable[Launch]) -> dict[Key, Launch]:
    """The first launch with each key."""
    found: dict[Key, Launch] = {}
    for launch in launches:
        found.setdefault(key_of(launch), launch)
    return found


def signature_of(launch: Launch) -> Signature:
    """Types, constants and divisibility that Triton's launcher would infer from the arguments."""
    found = Signature({}, {}, {})
    for i, parameter in enumerate(launch.kernel.params):
        name = parameter.name
        value = launch.arguments.get(name, parameter.default)
        if is_constant(parameter, value):
            found.types[name] = "constexpr"
            found.constants[name] = value
            continue
        found.types[name] = type_name(parameter, value)
        if is_divisible(parameter, value):
            found.attributes[(i,)] = [["tt.divisibility", ALIGNMENT]]
    return found


def is_constant(parameter: Any, value: Any) -> bool:
    """Whether the value is compiled into the binary."""
    free = not parameter.do_not_specialize and not parameter.annotation_type
    one = free and type(value) is int and value == 1
    return parameter.is_constexpr or value is None or one


def type_name(parameter: Any, value: Any) -> str:
    """Triton's name of an argument's type."""
    if isinstance(value, Tensor | Pointer):
        return "*" + TYPE_NAMES[value.dtype]
    if parameter.annotation_type:
        return parameter.annotation_type
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64"
    return "fp32"


def is_divisible(parameter: Any, value: Any) -> bool:
    """Whether the compiler may assume that a pointer or number is a multiple of 16."""
    if parameter.do_not_specialize or parameter.do_not_specialize_on_alignment:
        return False
    if isinstance(value, Tensor | Pointer):
        return pointer(value).aligned
    return isinstance(value, int) and value % ALIGNMENT == 0
