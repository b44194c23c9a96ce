"""A training step waits for the device once, while the next batch is copied; an error in the data loses no step."""

from importlib import import_module
from unittest.mock import patch

import pytest
import torch

from spikevrt.data.clips import batches as batches_module
from spikevrt.data.clips.batches import Feed
from spikevrt.data.clips.dataset import collate
from spikevrt.errors import UserError
from spikevrt.training.distributed import Processes
from spikevrt.training.optimisation import WeightEMA
from spikevrt.training.run_log import RunLog
from spikevrt.training.trainer import Trainer
from tests.small_data import small_config
from tests.waits import DEVICE, counted_waits

CPU = Processes(0, 1, torch.device("cpu"))


def trainer_on_device(tree, folder, *options) -> Trainer:
    """A trainer in the middle of a run, all of its tensors on the device."""
    run = Trainer(small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", "TRAIN.LOG_EVERY=100", *options), CPU)
    run.step, run.steps = 7, 1000
    run.processes = Processes(0, 1, DEVICE)
    # Parameters stay the objects that the optimiser knows.
    with patch("torch.__future__.get_swap_module_params_on_conversion", lambda: True):
        run.model.to(DEVICE)
    run.optimiser_step.device = DEVICE
    run.optimiser_step.ema = WeightEMA(run.model, 0.999)
    run.log = RunLog(folder, run.step, run.steps, shown=False)
    return run


@pytest.mark.parametrize("half", [None, torch.float16], ids=["without a scaler", "with one"])
def test_a_step_asks_the_device_once_and_late(tree, tmp_path, monkeypatch, half):
    # The optimiser's operators are not run either.
    monkeypatch.setattr(import_module("torch.optim.adam"), "_device_dtype_check_for_fused", lambda parameter: None)
    run = trainer_on_device(tree, tmp_path, "TRAIN.ACCUMULATE_GRAD=2")
    run.optimiser_step.scaler = torch.amp.GradScaler("cpu", enabled=half is not None)
    raw = collate([run.dataset[0]])
    with counted_waits() as events:

        def send(*arguments):
            events.append("data")
            return kept(*arguments)

        kept = batches_module.send
        monkeypatch.setattr(batches_module, "send", send)
        feed = Feed(iter([raw] * 9), DEVICE, run.config.data.norm)
        run._one_step(run.model, feed)
        first = len(events)
        run._one_step(run.model, feed)
    assert events[first:] == ["data", "data", "tolist"], "the second micro-batch, the next step's first, the question"
    assert len(run.optimiser_step.optimizer.state) == len(list(run.model.parameters())), "and it was taken"
    assert run.step == 9
    assert run.skips.total == 0


def samples(norm, count, error=None):
    picture, voxels = torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), torch.ones(1, 2, 4, 4, 4, dtype=torch.uint8)
    for i in range(count):
        yield {"blur": picture + i, "sharp": picture, "counts": voxels, "bin_frames": torch.ones(1, 2, 4), "stems": []}
    if error is not None:
        raise error


def test_a_feed_is_one_batch_ahead_and_keeps_an_error_for_its_turn():
    norm = small_config("/nowhere").data.norm
    feed = Feed(samples(norm, 2, UserError("damaged")), torch.device("cpu"), norm)
    for i in range(2):
        assert float(feed.take().blur.max()) == pytest.approx(i / 255)
        feed.fetch()
    with pytest.raises(UserError, match="damaged"):
        feed.take()


def test_a_feed_ends():
    norm = small_config("/nowhere").data.norm
    feed = Feed(samples(norm, 1), torch.device("cpu"), norm)
    feed.fetch()
    feed.fetch()
    assert feed.take().voxels.shape == (1, 2, 4, 4, 4)
    feed.fetch()
    with pytest.raises(StopIteration):
        feed.take()


@pytest.mark.parametrize("busy", [True, False])
def test_what_a_busy_device_hides_is_not_waiting(monkeypatch, busy):
    monkeypatch.setattr(batches_module, "still_busy", lambda device: busy)
    norm = small_config("/nowhere").data.norm
    feed = Feed(samples(norm, 1), torch.device("cpu"), norm)
    feed.fetch()
    assert (feed.waited == 0) is busy
