"""`python -m bench.half_stream`: does training suffer if the stream of stage 1 is in bfloat16 like all others?"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from torch import Tensor

from spikevrt.cli import command_parser, positive, run_command
from spikevrt.demo import prepare
from spikevrt.models.vrt import stage
from spikevrt.table import format_table
from spikevrt.train import main as main_of_training
from spikevrt.training.run_log import LOG_NAME, read_rows
from spikevrt_kernels.proof.cuda_autocast import cuda_autocast

DESCRIPTION = """Train the demo's model under the rules of CUDA's autocast, once with each type of stage 1's stream.

  python -m bench.half_stream --out half_stream         # 500 steps each, on the CPU in any type: 20 minutes

Layer norms give float32 there, as on a GPU. Stages 2 to 8 end theirs in a linear layer, which rounds to bfloat16.
"""
STREAMS: dict[str, Callable[[Tensor], Tensor]] = {"float32": lambda x: x, "bfloat16": stage.in_half}
"""Type of the stream in stage 1, and what is done to the result of its layer norm."""
LAST = 50
"""Steps at the end whose losses are averaged."""


def train(out: Path, name: str, steps: int) -> list[dict[str, Any]]:
    """Train the demo's model with one stream; returns the rows of its log."""
    options = (
        f"DATA.ROOT={out / 'data'}",
        f"TRAIN.OUTPUT_DIR={out / name}",
        f"TRAIN.MAX_STEPS={steps}",
        f"TRAIN.VAL_EVERY={max(1, steps // 5)}",
        "TRAIN.MIXED_PRECISION=bf16",
        "TRAIN.KEEP_LAST=0",
        "TRAIN.LOG_EVERY=1",
    )
    arguments = ["--config", "demo", "--device", "cpu", "--resume", "auto", "--opts", *options]
    with patch.object(stage, "in_half", STREAMS[name]), cuda_autocast():
        main_of_training(arguments)
    return [row for row, _ in read_rows(out / name / LOG_NAME)[0]]


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.half_stream", DESCRIPTION)
    parser.add_argument("--out", type=Path, required=True, help="folder of data and runs")
    parser.add_argument("--steps", type=positive, default=500, help="optimiser steps of each run")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train both, and print their last losses and their validations side by side."""
    args = make_parser().parse_args(argv)
    prepare(args.out)
    rows = []
    for name in STREAMS:
        log = train(args.out, name, args.steps)
        losses = [row["loss"] for row in log if row["kind"] == "train"]
        validations = [f"{row['psnr']:.2f}" for row in log if row["kind"] == "val"]
        rows.append((name, f"{mean(losses[-LAST:]):.5f}", " ".join(validations)))
    print(format_table(("stream of stage 1", f"loss of the last {LAST} steps", "validations, dB"), rows))
    return 0


if __name__ == "__main__":
    run_command(main)
