"""A run counts its draws: they decide which samples come next and what is random about them."""

from pathlib import Path

import pytest
import torch

from spikevrt.data.clips.batches import to_device
from spikevrt.training.checkpoints import save_checkpoint
from spikevrt.training.distributed import Processes
from spikevrt.training.trainer import Trainer
from tests.small_data import small_config

CPU = Processes(0, 1, torch.device("cpu"))


def start(tree: Path, folder: Path, *options: str, resume: bool = False) -> Trainer:
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={folder}", "TRAIN.NUM_WORKERS=0", *options)
    return Trainer(config, CPU, folder / "last.pt" if resume else None)


@pytest.mark.parametrize("known", [True, False], ids=["draws stored", "a checkpoint without draws"])
def test_a_run_goes_on_with_the_next_sample_at_another_batch_size(tree, tmp_path, known):
    run = start(tree, tmp_path / "run", "TRAIN.MAX_STEPS=9", "TRAIN.BATCH_SIZE=2", "TRAIN.ACCUMULATE_GRAD=3")
    run.step, run.draws = 4, 24
    state = run.state()
    assert state["training"]["draws"] == 24
    if not known:
        del state["training"]["draws"]
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / "last.pt", run.config, state)
    other = start(tree, tmp_path / "run", "TRAIN.EPOCHS=7", "TRAIN.BATCH_SIZE=4", resume=True)
    assert (other.step, other.draws) == (4, 24)
    assert other.steps == 4 + 15, "7 passes over 10 samples are 21 steps of 4, less 24 samples"
    assert next(other._batches())["draw"] == [24, 25, 26, 27]


def test_a_step_leaves_torchs_generator_alone(tree, tmp_path):
    run = start(tree, tmp_path / "run", "TRAIN.MAX_STEPS=1", "MODEL.VRT.DROP_PATH=0.3", "MODEL.FUSE.DROPOUT=0.1")
    raw = next(run._batches())
    before = torch.get_rng_state()
    run.optimiser_step.micro_batch(run.model, to_device(raw, CPU.device, run.config.data.norm))
    assert torch.equal(torch.get_rng_state(), before)
