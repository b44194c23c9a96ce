"""Two processes train as one with twice the accumulation, dropping and augmenting the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikevrt.config import config_to_yaml
from tests.small_data import small_config
from tests.training.double import double_model, train_in_float64

pytestmark = pytest.mark.runs

RANDOM = (
    "MODEL.VRT.DROP_PATH=0.3",
    "MODEL.SPIKE_TSA.DROPOUT=0.2",
    "MODEL.FUSE.DROPOUT=0.2",
    "MODEL.VRT.USE_CHECKPOINT_ATTN=true",
    "MODEL.VRT.USE_CHECKPOINT_FFN=true",
    "TRAIN.NUM_WORKERS=0",
    "TRAIN.WARMUP_STEPS=1",
    "TRAIN.LR=1e-5",
    "TRAIN.VAL_EVERY=100",
)


def launched(world: int, *arguments: object) -> None:
    """Run `python <arguments>` in `world` processes, as torchrun does."""
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command], env=environment, check=True, timeout=600)


def saved(folder: Path) -> torch.Tensor:
    """All weights and their means, after the run."""
    state = torch.load(folder / "last.pt", weights_only=True)
    return torch.cat([x.double().flatten() for part in ("params", "params_ema") for x in state[part].values()])


@pytest.mark.parametrize("steps", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_two_processes_equal_one_with_twice_the_accumulation(tree, tmp_path, steps):
    """In float64, with drop path, dropout, augmentation and checkpointing.

    The flow trains in the last step only, because PyTorch's float64 convolutions are slow. Adam divides tiny gradients
    by their size: with the learning rate of the other tests, 1e-16 becomes 1e-4 within ten steps.
    """

    def config(name: str, accumulate: int):
        sizes = (
            f"TRAIN.MAX_STEPS={steps}",
            f"TRAIN.ACCUMULATE_GRAD={accumulate}",
            f"TRAIN.FREEZE_FLOW_STEPS={steps - 1}",
        )
        return small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path / name}", *RANDOM, *sizes)

    (tmp_path / "two.yaml").write_text(config_to_yaml(config("two", 2)))
    launched(2, Path(__file__).with_name("double.py"), tmp_path / "two.yaml")
    torch.manual_seed(config("one", 4).train.seed)
    start = torch.cat([x.double().flatten() for x in double_model(config("one", 4)).state_dict().values()])
    train_in_float64(config("one", 4))
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    assert (one[: len(start)] - start).abs().max() > 1e-5
    assert (two - one).abs().max() <= 1e-10
