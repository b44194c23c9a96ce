"""`python -m bench.training_step`: one training step on random frames, its peak memory measured and predicted."""

import json
from collections.abc import Sequence
from typing import Any

import torch

from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, run_command
from spikevrt.device import choose_device, half_type
from spikevrt.memory import TRAINING_ADVICE, memory_advice
from spikevrt.training.one_step import measured_step, predicted_training_peak

DESCRIPTION = """Time one training step at the configuration's own crop and batch, without data.

  python -m bench.training_step --config default --attn-backend triton
  python -m bench.training_step --config default --attn-backend triton --predict    # no GPU needed

The last line is JSON: seconds (median of three steps), peak (bytes, measured on CUDA) and predicted (bytes, from
tensors without storage; not for auto).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, predict, print."""
    parser = command_parser("bench.training_step", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument("--device", help="cuda:N or cpu; CUDA where there is one if not given")
    parser.add_argument("--predict", action="store_true", help="predict alone: the step of a GPU, on any machine")
    args = parser.parse_args(argv)
    config, device = config_from_arguments(args), choose_device(args.device)
    figures: dict[str, Any] = {"backend": config.model.attn_backend, "seconds": None, "peak": None}
    if not args.predict:
        with memory_advice(TRAINING_ADVICE):
            figures |= measured_step(config, device)._asdict()
    half = half_type(device, config.train.mixed_precision)
    if args.predict and device.type == "cpu" and config.train.mixed_precision:
        half = torch.bfloat16  # as a GPU would take it
    figures["predicted"] = None if config.model.attn_backend == "auto" else predicted_training_peak(config, half)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    run_command(main)
