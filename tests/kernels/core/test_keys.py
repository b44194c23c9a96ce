"""Keys name the binaries that Triton's launcher compiles; launches noted without storage are the ones that run."""

import pytest
import torch
import triton

from spikevrt_kernels.core.case import mixed, pure, run_case
from spikevrt_kernels.core.keys import by_key, key_of, signature_of
from spikevrt_kernels.core.launch import Notes, noted_launches
from spikevrt_kernels.core.operator import FIRST_SCALE
from spikevrt_kernels.deform_conv import spec as deform_spec
from spikevrt_kernels.geglu_block import spec as geglu_spec
from spikevrt_kernels.linear_residual import spec as residual_spec
from spikevrt_kernels.norm_linear import spec as norm_spec
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.proof.no_launch import no_launch
from spikevrt_kernels.registry import OPERATORS, PLANS, TRITON_OPS
from spikevrt_kernels.temporal_attention import spec as attention_spec
from spikevrt_kernels.temporal_block import spec as block_spec
from spikevrt_kernels.warp_pairs import spec as warp_spec
from spikevrt_kernels.window_attention import spec as window_spec
from spikevrt_kernels.window_attention.spec import window_launches
from tests.toy_kernels import mixed_numbers, row_product

SPECS = attention_spec, block_spec, window_spec, norm_spec, residual_spec, geglu_spec, deform_spec, warp_spec
CPU = torch.device("cpu")


@pytest.fixture
def asked(monkeypatch):
    """What the launcher would have compiled; nothing is."""
    found = []

    def note(compile, **_):
        found.append((compile["signature"], compile["constants"], compile["configs"][0]))
        return True

    with no_launch():
        monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", note)
        yield found


def launcher_s(launch, asked):
    """Types, constants and divisibility by Triton itself."""
    launch.kernel.warmup(grid=launch.grid, **launch.arguments, **launch.options)
    signature, constants, attributes = asked[-1]
    names = list(signature)
    constants = {names[i]: value for (i,), value in constants.items()}
    return signature, constants, {place: promised for place, promised in attributes.items() if promised}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_signature_is_the_launcher_s(plan, T, dtype, asked):
    for launch in plan(T, dtype, 90).values():
        launch = launch.without_tensors()
        assert tuple(signature_of(launch)) == launcher_s(launch, asked)


@pytest.mark.parametrize("value", [0, 1, 16, 17, -16, 2**31 - 1, 2**31, 2**31 + 16, 2.0])
@pytest.mark.parametrize("aligned", [True, False])
def test_numbers_and_pointers_are_the_launcher_s(value, aligned, asked):
    launch = mixed_numbers(value, aligned)
    assert tuple(signature_of(launch)) == launcher_s(launch, asked)


def test_what_tells_two_binaries_apart_tells_two_keys_apart():
    launch = row_product(4, 128)
    same = launch._replace(arguments=launch.arguments | {"N": 8192}, grid=(64,))
    assert key_of(same) == key_of(launch)
    for other in (
        launch._replace(options={"num_warps": 2}),
        launch._replace(arguments=launch.arguments | {"N": 4097}),
        launch._replace(arguments=launch.arguments | {"N": 1}),
        launch._replace(arguments=launch.arguments | {"ROWS": 3}),
        launch._replace(arguments=launch.arguments | {"x_ptr": launch.arguments["x_ptr"].half()}),
        launch._replace(arguments=launch.arguments | {"out_ptr": torch.empty(4 * 4096 + 1, device="meta")[1:]}),
    ):
        assert key_of(other) != key_of(launch)
    assert list(by_key([launch, same]).values()) == [launch]


def run(case, precision):
    inputs = case.inputs(precision, CPU)
    out = run_case(case, "triton", inputs, precision.autocast, None).out
    return run_case(case, "triton", inputs, precision.autocast, torch.ones_like(out))


@pytest.mark.parametrize("precision", [pure(torch.float32), mixed(torch.bfloat16)], ids=lambda p: p.name)
@pytest.mark.parametrize("op", TRITON_OPS)
def test_launches_without_storage_are_those_of_a_run(op, precision, monkeypatch):
    """The launcher is asked, on tensors with storage, for exactly what was noted without."""
    with noted_launches() as noted:
        for case in OPERATORS[op].tiny:
            with without_storage(for_cuda=True):
                run(case, precision)
    ran = []

    def note(launch):
        ran.append(launch.without_tensors())
        own_run(launch)

    with no_launch() as record:
        own_run = type(noted[0]).run
        monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", lambda **_: True)
        monkeypatch.setattr(type(noted[0]), "run", note)
        for case in OPERATORS[op].tiny:
            run(case, precision)
    assert record.launches == []
    assert [key_of(launch) for launch in noted] == [key_of(launch) for launch in ran]
    assert [launch.grid for launch in noted] == [launch.grid for launch in ran]


@pytest.mark.parametrize("plan", [name for name in PLANS if name != "attention along time"])
def test_another_batch_needs_no_other_binary(plan, monkeypatch):
    keys = []
    for batch in (1, 2, 16):
        for spec in SPECS:
            monkeypatch.setattr(spec, "FIRST_SCALE", (batch, *FIRST_SCALE[1:]))
        keys.append({key_of(launch) for launch in PLANS[plan](5, torch.bfloat16, 90).values()})
    assert keys[0] == keys[1] == keys[2]


@pytest.mark.parametrize("mutual", [False, True])
def test_a_map_of_another_size_needs_no_other_window_kernel(mutual):
    def keys(*size):
        window, shift = ((2, 8, 8), (1, 4, 4)) if mutual else ((5, 8, 8), (2, 4, 4))
        launches = window_launches((1, 6, *size, 96), torch.bfloat16, 90, mutual, 6, window, shift)
        return {key_of(launch) for launch in launches.values()}

    assert keys(256, 256) == keys(9, 23) == keys(720, 1280) == keys(11, 9)


def test_a_fake_outside_builds_no_launch(monkeypatch):
    monkeypatch.setattr("spikevrt_kernels.temporal_attention.triton.launch.forward_launch", None)
    monkeypatch.setattr("spikevrt_kernels.window_attention.triton.launch.forward_launches", None)
    monkeypatch.setattr("spikevrt_kernels.temporal_block.triton.launch.forward_launches", None)
    monkeypatch.setattr("spikevrt_kernels.norm_linear.triton.launch.forward_launch", None)
    monkeypatch.setattr("spikevrt_kernels.linear_residual.triton.launch.forward_launch", None)
    monkeypatch.setattr("spikevrt_kernels.geglu_block.triton.launch.forward_launch", None)
    monkeypatch.setattr("spikevrt_kernels.deform_conv.triton.launch.forward_launch", None)
    for op in TRITON_OPS:
        with without_storage(for_cuda=True):
            run(OPERATORS[op].tiny[0], mixed(torch.bfloat16))


def test_the_shapes_and_types_of_noting_are_those_of_the_fakes():
    for op in TRITON_OPS:
        for case in OPERATORS[op].tiny:
            with without_storage(for_cuda=True):
                plain = run(case, mixed(torch.bfloat16))
                with noted_launches():
                    built = run(case, mixed(torch.bfloat16))
            for a, b in zip((plain.out, *plain.gradients), (built.out, *built.gradients), strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype)


def test_another_architecture_takes_other_kernels():
    def kernels(architecture):
        with noted_launches(architecture) as noted, without_storage(for_cuda=True):
            run(OPERATORS["temporal_block"].tiny[0], mixed(torch.bfloat16))
        return {launch.kernel.__name__ for launch in noted}

    assert "temporal_block_kernel" in kernels(90)
    assert "temporal_block_kernel" not in kernels(80)
    assert (Notes.launches, Notes.architecture) == (None, 90)
