"""`--detect-anomaly` names the module in which the first value that is not finite appears."""

import warnings

import pytest
import torch
from torch import nn

from spikevrt.errors import UserError
from spikevrt.training.anomalies import anomalies_named
from spikevrt.training.distributed import Processes
from spikevrt.training.options import RunOptions
from spikevrt.training.trainer import Trainer
from tests.small_data import small_config


class Root(nn.Module):
    """sqrt(|x|), whose gradient at 0 is infinite."""

    def forward(self, x):
        return x.abs().sqrt()


class Log(nn.Module):
    """log(x), which is -inf at 0, in a tuple."""

    def forward(self, x):
        return x, x.log()


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


class First(nn.Module):
    def forward(self, x):
        return x[0]


def endless(module, inputs, output):
    """A forward hook behind which the gradient is infinite."""
    output.register_hook(lambda gradient: gradient * float("inf"))


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(Double(), Double()), nn.Linear(2, 1))


def one_pass(net, x, backward=True):
    with anomalies_named(net, lambda: 7, backward):
        net(x).sum().backward()


def put(net, module):
    net[1][1] = module
    return net


@pytest.mark.parametrize(
    ("prepare", "x", "message"),
    [
        (lambda net: put(net, nn.Sequential(Log(), First())), [0.0, 0.0], r"the output of 1\.1\.0 \(Log\) is not"),
        (lambda net: nn.init.constant_(net[2].bias, float("nan")), [1.0, 1.0], r"the weights of 2 \(Linear\) are not"),
        (lambda net: None, [float("inf"), 1.0], r"the model's input is not finite \(--detect-anomaly\); check DATA"),
        (
            lambda net: put(net, Root()),
            [0.0, 0.0],
            r"in the backward pass of 1\.1 \(Root\), a gradient of \w+Backward0",
        ),
        (
            lambda net: net[1].register_forward_hook(endless),
            [1.0, 1.0],
            r"the gradient of the output of 1\.0 \(Double\) is not",
        ),
    ],
    ids=["output", "weights", "input", "nan gradient", "infinite gradient"],
)
def test_module_and_step_are_named_in_one_line(prepare, x, message):
    net = model()
    nn.init.eye_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    prepare(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=f"step 7: {message}") as caught:
            one_pass(net, torch.tensor([x]))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_is_finite_passes_and_the_hooks_go():
    net = model()
    one_pass(net, torch.ones(1, 2))
    nn.init.constant_(net[2].bias, float("nan"))
    assert net(torch.ones(1, 2)).isnan().all()
    assert not torch.is_anomaly_enabled()


def test_validation_is_not_watched():
    net = model().eval()
    nn.init.constant_(net[2].bias, float("nan"))
    one_pass(net, torch.ones(1, 2), backward=False)


def test_gradients_of_fp16_may_overflow():
    net = put(model(), Root())
    nn.init.eye_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    one_pass(net, torch.zeros(1, 2), backward=False)
    assert not net[0].weight.grad.isfinite().all()


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        one_pass(model(), torch.ones(1, 3))


@pytest.mark.parametrize("word", ["none", "fp16"])
def test_a_run_stops_there_and_a_sound_one_does_not(tree, tmp_path, word):
    options = ("TRAIN.MAX_STEPS=3", "TRAIN.NUM_WORKERS=0", "TRAIN.WARMUP_STEPS=1", f"TRAIN.MIXED_PRECISION={word}")
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path}", *options)
    run = Trainer(config, Processes(0, 1, torch.device("cpu")), options=RunOptions(detect_anomaly=True))
    part = run.model.vrt.stage3
    part.register_forward_hook(lambda module, inputs, out: out * (float("nan") if run.step == 1 else 1))
    with pytest.raises(UserError, match=r"step 2: the output of vrt\.stage3 \(\w+\) is not finite \(--detect-anomaly"):
        run.run()
    assert run.step == 1
