"""bf16, fp16 with its scaler, float32; what a skipped step leaves; the columns of the log."""

import json
import re

import pytest
import torch

from spikevrt.config import config_from_tree, load_config
from spikevrt.errors import UserError
from spikevrt.system.device import half_type, planned_half_type
from spikevrt.training.distributed import Processes
from spikevrt.training.optimisation import WeightEMA
from spikevrt.training.trainer import Trainer
from tests.small_data import small_config

CPU = Processes(0, 1, torch.device("cpu"))
CUDA = torch.device("cuda", 0)
WORDS = ("auto", "bf16", "fp16", "none")


def start(tree, folder, *options, resume=False) -> Trainer:
    quick = ("TRAIN.LOG_EVERY=1", "TRAIN.WARMUP_STEPS=1", "TRAIN.NUM_WORKERS=0", "TRAIN.VAL_EVERY=99")
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", *quick, *options)
    return Trainer(config, CPU, folder / "last.pt" if resume else None)


def rows(folder, kind="train"):
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize(
    ("written", "meant"),
    [*((word, word) for word in WORDS), ("true", "auto"), ("false", "none"), ("off", "none"), ("Yes", "auto")],
)
def test_the_words_for_a_precision_and_the_older_ones(written, meant):
    assert load_config("demo", [f"TRAIN.MIXED_PRECISION={written}"]).train.mixed_precision == meant


@pytest.mark.parametrize(("stored", "meant"), [(True, "auto"), (False, "none")])
def test_the_booleans_of_older_files_and_checkpoints(stored, meant):
    assert config_from_tree({"TRAIN": {"MIXED_PRECISION": stored}}).train.mixed_precision == meant


@pytest.mark.parametrize("value", ["half", "1", "[fp16]", "null"])
def test_another_word_is_refused(value):
    with pytest.raises(UserError, match=r"TRAIN\.MIXED_PRECISION = .*must be"):
        load_config("demo", [f"TRAIN.MIXED_PRECISION={value}"])


@pytest.mark.parametrize(
    ("device", "has_bf16", "types"),
    [
        ("cpu", False, (None, torch.bfloat16, torch.float16, None)),
        ("cuda:0", True, (torch.bfloat16, torch.bfloat16, torch.float16, None)),
        ("cuda:0", False, (torch.float16, UserError, torch.float16, None)),
    ],
)
def test_the_type_on_each_device(monkeypatch, device, has_bf16, types):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    for word, wanted in zip(WORDS, types, strict=True):
        if wanted is UserError:
            with pytest.raises(UserError, match="bf16: Tesla T4 does not compute in it; use fp16, none or auto"):
                half_type(torch.device(device), word)
        else:
            assert half_type(torch.device(device), word) == wanted


def test_plans_are_made_for_a_gpu_with_bf16():
    assert [planned_half_type(word) for word in WORDS] == [torch.bfloat16, torch.bfloat16, torch.float16, None]


@pytest.mark.parametrize("word", WORDS)
def test_the_cpu_trains_in_what_was_asked_for(tree, tmp_path, word):
    run = start(tree, tmp_path, "TRAIN.MAX_STEPS=1", f"TRAIN.MIXED_PRECISION={word}")
    seen = set()
    run.model.vrt.conv_first.register_forward_hook(lambda module, inputs, out: seen.add(out.dtype))
    assert run.run()
    assert seen == {{"bf16": torch.bfloat16, "fp16": torch.float16}.get(word, torch.float32)}
    (row,) = rows(tmp_path)
    assert row["grad_norm"] > 0
    assert 0.05 < row["memory_gib"] < 100
    assert row["skipped"] == 0
    assert row["seconds"] > 0


def test_overflows_of_fp16_lower_the_scale_and_are_no_bad_steps(tree, tmp_path, capsys):
    options = "TRAIN.MAX_STEPS=6", "TRAIN.MIXED_PRECISION=fp16", "TRAIN.MAX_BAD_STEPS=2"
    # Of this loss, whose gradients are small, a few halvings of the scale below are enough.
    run = start(tree, tmp_path, *options, "TRAIN.LOSS=charbonnier")
    step, updates = run.optimiser_step, []
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**26)
    step.ema = WeightEMA(run.model, 0.9)
    update = step.ema.update
    step.ema.update = lambda number: (updates.append(number), update(number))
    assert run.run()
    skipped = rows(tmp_path)[-1]["skipped"]
    overflows = [row["step"] for row in rows(tmp_path) if row["grad_norm"] is None]
    assert overflows[:3] == [1, 2, 3], "more in a row than MAX_BAD_STEPS"
    assert len(overflows) == skipped < 6
    assert step.scaler.get_scale() == 2.0 ** (26 - skipped)
    assert updates == [number for number in range(1, 7) if number not in overflows], "the mean moves with the weights"
    output = capsys.readouterr()
    assert "step 1: skipped, because the gradients overflowed in fp16" in output.out + output.err


def test_fp16_that_never_fits_is_still_an_error(tree, tmp_path):
    run = start(tree, tmp_path, "TRAIN.MAX_STEPS=99", "TRAIN.MIXED_PRECISION=fp16", "TRAIN.MAX_BAD_STEPS=3")
    run.optimiser_step.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    loss = run.optimiser_step.loss

    def infinite_gradient(*arguments):
        found = loss(*arguments)
        found.register_hook(lambda gradient: gradient * float("inf"))
        return found

    run.optimiser_step.loss = infinite_gradient
    with pytest.raises(UserError, match="not finite for 3 steps in a row"):
        run.run()
    assert run.skips.total == 5, "4, 2 and 1 could still have mended it"


def test_a_skipped_step_is_named_once_and_counted_for_good(tree, tmp_path, capsys):
    run = start(tree, tmp_path, "TRAIN.MAX_STEPS=6")
    loss = run.optimiser_step.loss
    run.optimiser_step.loss = lambda *a: loss(*a) * (float("nan") if run.step in (1, 2, 4) else 1)
    assert run.run()
    assert [row["skipped"] for row in rows(tmp_path)] == [0, 1, 2, 2, 3, 3]
    output = capsys.readouterr()
    lines = [line for line in (output.out + output.err).splitlines() if "skipped, because" in line]
    assert lines == [f"step {number}: skipped, because the loss is not finite" for number in (2, 5)]
    assert re.search(r"step 6 of 6: .* left, 3 skipped", output.out)
    assert start(tree, tmp_path, "TRAIN.MAX_STEPS=9", resume=True).skips.total == 3


def test_a_run_may_go_on_in_another_precision(tree, tmp_path):
    words = ("none", "fp16", "bf16", "fp16")
    for steps, word in enumerate(words, 1):
        run = start(tree, tmp_path, f"TRAIN.MAX_STEPS={steps}", f"TRAIN.MIXED_PRECISION={word}", resume=steps > 1)
        assert run.run()
    assert len(rows(tmp_path)) == len(words)
