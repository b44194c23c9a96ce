"""What the first process decides holds on all."""

import subprocess
import sys

import pytest
import torch

from spikevrt.errors import UserError
from spikevrt.training.distributed import Processes

SCRIPT = """
import sys
from pathlib import Path

from spikevrt.errors import UserError
from spikevrt.training.distributed import joined_processes

def refuse():
    assert processes.first
    raise UserError("no backend is right")

with joined_processes("cpu") as processes:
    assert processes.decide(lambda: f"by {processes.rank}") == "by 0"
    try:
        processes.decide(refuse)
    except UserError as error:
        Path(sys.argv[1], f"{processes.rank}.txt").write_text(str(error))
"""


def test_one_process_decides_by_itself():
    alone = Processes(0, 1, torch.device("cpu"))
    assert alone.decide(lambda: 3) == 3
    with pytest.raises(UserError, match="no"):
        alone.decide(lambda: (_ for _ in ()).throw(UserError("no")))


def test_the_first_process_decides_for_all_and_its_error_is_raised_on_all(tmp_path):
    script = tmp_path / "decide.py"
    script.write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == ["no backend is right"] * 2
