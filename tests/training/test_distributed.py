"""What the first process decides holds on all."""

import subprocess
import sys

import pytest
import torch

from spikevrt.errors import UserError
from spikevrt.training.distributed import Processes

SCRIPT = """
import sys
from spikevrt.errors import UserError
from spikevrt.training.distributed import start_processes

processes = start_processes("cpu")
assert processes.decide(lambda: f"by {processes.rank}") == "by 0"

def refuse():
    assert processes.first
    raise UserError("no backend is right")

try:
    processes.decide(refuse)
except UserError as error:
    print(f"{processes.rank}: {error}")
"""


def test_one_process_decides_by_itself():
    alone = Processes(0, 1, torch.device("cpu"))
    assert alone.decide(lambda: 3) == 3
    with pytest.raises(UserError, match="no"):
        alone.decide(lambda: (_ for _ in ()).throw(UserError("no")))


def test_the_first_process_decides_for_all_and_its_error_is_raised_on_all(tmp_path):
    script = tmp_path / "decide.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", "0: no backend is right", "1: no backend is right"]
