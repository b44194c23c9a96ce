"""The choice of a device; float32 without TF32; cuDNN times its algorithms only in training."""

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from bench.training_step import main as training_step
from spikevrt.config import config_to_yaml
from spikevrt.deblur import main as deblur
from spikevrt.evaluate import main as evaluate
from spikevrt.models.vrt.spynet import BasicModule
from spikevrt.system.device import choose_device, settle_float32
from spikevrt.train import main as train
from tests.small_data import small_config

EXACT = ("ieee", "ieee")


def flags():
    """How products and convolutions of float32 are computed, and whether cuDNN times its algorithms."""
    cuda = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    return cuda, torch.backends.cudnn.benchmark


def set_flags(precision, benchmark):
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = precision
    torch.backends.cudnn.benchmark = benchmark


@pytest.fixture(autouse=True)
def restored():
    before = flags()
    yield
    set_flags(*before)


@pytest.fixture
def seen():
    """The flags at every level of the flow, forward and backward."""
    found = set()

    def look(module, inputs):
        if isinstance(module, BasicModule):
            found.add(flags())
            if inputs[0].requires_grad:
                inputs[0].register_hook(lambda grad: found.add(flags()))

    hook = register_module_forward_pre_hook(look)
    yield found
    hook.remove()


def distort(benchmark):
    """A start that is wrong in all of them."""
    set_flags(("tf32", "tf32"), benchmark)


def test_the_flow_is_true_float32_in_every_command(tree, tmp_path, seen):
    folder, clip = tmp_path / "run", tree / "val" / "held"
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", "TRAIN.MAX_STEPS=1", "TRAIN.NUM_WORKERS=0")
    (tmp_path / "run.yaml").write_text(config_to_yaml(config))
    checkpoint, out = ["--checkpoint", str(folder / "last.pt"), "--device", "cpu"], ["--out", str(tmp_path / "sharp")]
    commands = [
        (train, ["--config", str(tmp_path / "run.yaml"), "--device", "cpu"], True),
        (training_step, ["--config", str(tmp_path / "run.yaml"), "--device", "cpu"], True),
        (evaluate, checkpoint, False),
        (deblur, [str(clip), *checkpoint, *out], False),
    ]
    for command, arguments, few_sizes in commands:
        seen.clear()
        distort(not few_sizes)
        assert command(arguments) == 0
        assert seen == {(EXACT, few_sizes)}, command.__module__


@pytest.mark.filterwarnings("error")
def test_torch_takes_the_settings_without_a_word_and_still_compiles():
    settle_float32()
    layer = torch.compile(torch.nn.Conv2d(2, 2, 3), backend="aot_eager")
    assert layer(torch.ones(1, 2, 4, 4)).shape == (1, 2, 2, 2)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_container_that_lets_products_run_in_tf32_is_overruled_in_both_settings():
    """TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 does the same to a process that starts."""
    torch.set_float32_matmul_precision("high")
    try:
        settle_float32()
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert flags() == (EXACT, False)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), (None, 0), ("cuda:1", 1), ("cuda:0", 0)])
def test_a_cuda_device_has_an_index(name, index, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    assert choose_device(name) == torch.device("cuda", index)


def test_the_cpu_has_none_and_is_taken_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
