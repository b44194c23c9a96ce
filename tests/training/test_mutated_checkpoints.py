"""Random damage of checkpoints: what is read is right, everything else is one line.

SPIKEVRT_FUZZ_CHECKPOINTS sets the number of mutated files.
"""

import argparse
import copy
import datetime
import os
import random
import time

import numpy as np
import pytest
import torch

from spikevrt.errors import UserError
from spikevrt.models import load_trained_model
from spikevrt.training.checkpoints import read_checkpoint, save_checkpoint
from tests.training.checkpoint_states import tiny_config, trained_state

COUNT = int(os.environ.get("SPIKEVRT_FUZZ_CHECKPOINTS", "60"))
CONFIG = tiny_config()
LONGEST_LINE = 400
MOST_SECONDS = 10
NAN = float("nan")
VALUES = (
    *(None, True, -1, 0, 7, 10**9, 10**30, 10**400, 0.5, NAN, float("inf"), 1e308, "", "text", "x\n\0\x1b[31m" * 999),
    *([], [1, "a"], {}, {"a": {"b": 1}}, {1: 2}, (), b"bytes", datetime.date(2024, 1, 1), np.float64(1), np.zeros(2)),
    *(argparse.Namespace(a=1), torch.ones(3), torch.full((8,), NAN), torch.ones(8).long(), torch.tensor(1.0)),
    *(torch.ones(1).expand(10**15), torch.ones(8).to_sparse(), torch.ones(8, device="meta"), torch.float16),
)
"""What takes the place of an entry."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint and what it holds."""
    path = tmp_path_factory.mktemp("whole") / "last.pt"
    save_checkpoint(path, CONFIG, trained_state(CONFIG))
    return path.read_bytes(), torch.load(path, weights_only=True)


def with_damaged_bytes(content, chance):
    """The file with flipped bits, a block of zeros, its end cut off, or a piece of it twice."""
    content, at = bytearray(content), chance.randrange(len(content))
    if chance.random() < 0.3:
        at = chance.choice([0, max(len(content) - 9000, 0)]) + chance.randrange(9000)
    kind = chance.choice(["bit", "bits", "zeros", "cut", "twice"])
    if kind == "bit":
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "bits":
        for _ in range(50):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "zeros":
        content[at : at + 4096] = b"\x5a" * len(content[at : at + 4096])
    elif kind == "cut":
        del content[at:]
    else:
        content[at:at] = content[at : at + 64]
    return bytes(content)


def with_another_entry(whole, chance):
    """What the checkpoint holds with an entry at some depth dropped, added or replaced."""
    whole = copy.copy(whole)
    node, name = whole, chance.choice(list(whole))
    while isinstance(node[name], (dict, list)) and node[name] and chance.random() < 0.8:
        node[name] = copy.copy(node[name])
        node = node[name]
        name = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
    kind = chance.random()
    if kind < 0.2:
        del node[name]
    elif kind < 0.3 and isinstance(node, dict):
        node[chance.choice(["foreign", "", 3, None, "x\n" * 999])] = chance.choice(VALUES)
    elif kind < 0.4 and torch.is_tensor(node[name]):
        node[name] = torch.full_like(node[name].float(), chance.choice([NAN, float("inf")]))
    else:
        node[name] = chance.choice(VALUES)
    return whole


def equal(a, b):
    return all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_mutated_checkpoint_is_read_rightly_or_refused_in_one_line(whole, tmp_path, seed):
    chance = random.Random(seed)
    content, entries = whole
    path = tmp_path / "last.pt"
    damaged = seed % 2 == 0
    if damaged:
        path.write_bytes(with_damaged_bytes(content, chance))
    else:
        torch.save(with_another_entry(entries, chance), path)
    for read in (lambda: read_checkpoint(path, CONFIG), lambda: load_trained_model(path)):
        start = time.process_time()
        try:
            result = read()
        except UserError as error:
            text = str(error)
            assert text.startswith(f"checkpoint {path}: ")
            assert text.isprintable()
            assert len(text) <= LONGEST_LINE
        else:
            assert not damaged
            if isinstance(result, dict):
                assert equal(result["params"], entries["params"])
                assert equal(result["params_ema"], entries["params_ema"])
            else:
                assert equal(result[0].state_dict(), entries["params_ema"])
        assert time.process_time() - start < MOST_SECONDS
