"""Loading batches: into pinned memory if the device is CUDA."""

import pytest
import torch

from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.training import validation
from spikevrt.training.distributed import Processes
from spikevrt.training.trainer import Trainer
from spikevrt.training.validation import load
from tests.small_data import small_config

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_pinned_on_their_way_to_cuda(tree, workers):
    data = ClipDataset(small_config(tree).data, "train", True, True, crop=40)
    assert load(data, CUDA, workers=workers).pin_memory
    assert not load(data, CPU, workers=workers).pin_memory


def test_training_and_validation_load_for_their_device(tree, tmp_path, monkeypatch):
    config, asked = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path}"), []

    def noted(data, device, *_):
        asked.append(device)
        return []

    run = Trainer(config, Processes(0, 1, CPU))
    for module in ("bad_samples", "validation"):
        monkeypatch.setattr(f"spikevrt.training.{module}.load", noted)
    run._batches()
    with pytest.raises(ZeroDivisionError):
        validation.validate(run.model, run.validation, config, run.processes)
    assert asked == [CPU, CPU]
