"""`python -m bench.training_step`: one training step on random frames, its peak memory measured and predicted."""

import json
from collections.abc import Sequence
from typing import Any

import torch

from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, run_command
from spikevrt.system.device import choose_device, half_type, settle_float32
from spikevrt.system.out_of_memory import TRAINING_ADVICE, memory_advice
from spikevrt.training.step_cost import measured_step, predicted_training_peak

DESCRIPTION = """Time one training step at the configuration's own crop and batch, without data.

  python -m bench.training_step --config default --attn-backend triton
  python -m bench.training_step --config default --attn-backend triton --predict    # no GPU needed

The last line is JSON: seconds (median of three steps), peak (bytes, measured on CUDA) and predicted (bytes, from
tensors without storage; not for auto, and after the measurement, whose line comes as soon as it is there).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, measure, print."""
    parser = command_parser("bench.training_step", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument("--device", help="cuda:N or cpu; CUDA where there is one if not given")
    parser.add_argument("--predict", action="store_true", help="predict alone: the step of a GPU, on any machine")
    args = parser.parse_args(argv)
    config, device = config_from_arguments(args), choose_device(args.device)
    settle_float32(few_sizes=True)
    half = half_type(device, config.train.mixed_precision)
    if args.predict and device.type == "cpu" and config.train.mixed_precision:
        half = torch.bfloat16  # as a GPU would take it
    backend = config.model.attn_backend
    figures: dict[str, Any] = {"backend": backend, "predicted": None, "seconds": None, "peak": None}
    if not args.predict:
        with memory_advice(TRAINING_ADVICE):
            figures |= measured_step(config, device)._asdict()
        print(json.dumps(figures), flush=True)
    if backend != "auto":
        figures["predicted"] = predicted_training_peak(config, half)
    if args.predict or backend != "auto":
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    run_command(main)
