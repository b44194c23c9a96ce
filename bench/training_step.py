"""`python -m bench.training_step`: time and peak memory of a training step on random frames."""

import json
from collections.abc import Sequence
from typing import Any

from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, run_command
from spikevrt.system.device import choose_device, half_type, planned_half_type, settle_float32
from spikevrt.system.memory import TRAINING_ADVICE, memory_advice
from spikevrt.training.step_cost import measured_step, predicted_training_peak

DESCRIPTION = """Measure a training step at the configuration's crop and batch size, on random data.

  python -m bench.training_step --config default --attn-backend triton
  python -m bench.training_step --config default --attn-backend triton --predict    # no GPU needed

The last line is JSON: seconds (median of three steps), peak (bytes, measured on CUDA), predicted (bytes, computed on
tensors without storage; not for auto). A line without the prediction is printed before it, after the measurement.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and predict a step, and print the figures as JSON."""
    parser = command_parser("bench.training_step", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument("--device", help="cuda:N or cpu; default: CUDA if there is a device")
    parser.add_argument("--predict", action="store_true", help="only predict the step of a GPU; works on any machine")
    args = parser.parse_args(argv)
    config, device = config_from_arguments(args), choose_device(args.device)
    settle_float32(few_sizes=True)
    wanted = config.train.mixed_precision
    half = planned_half_type(wanted) if args.predict and device.type == "cpu" else half_type(device, wanted)
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
