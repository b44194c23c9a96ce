"""`python -m spikevrt.export`: the weights of a checkpoint in a small file, to pass on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spikevrt.cli import command_parser, file_to_write, path, require_unread, run_command
from spikevrt.errors import UserError, one_line, shown
from spikevrt.weights import SUFFIX

DESCRIPTION = """Write the weights of a checkpoint, with its configuration, and nothing of the training.

  python -m spikevrt.export runs/first/best.pt --out weights.safetensors
  python -m spikevrt.export runs/first/best.pt --out weights.safetensors --half     # float16: half the size

The file holds the moving average of the weights (EMA) if the checkpoint has one. It can be read without running code;
deblur, evaluate and Restorer.from_pretrained take it like a checkpoint.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.export", DESCRIPTION)
    parser.add_argument("checkpoint", type=path, metavar="CHECKPOINT", help="for example runs/first/best.pt")
    parser.add_argument("--out", type=file_to_write, required=True, metavar="FILE", help=f"a {SUFFIX} file to write")
    parser.add_argument("--half", action="store_true", help="store float16: half the size, errors of 0.05%%")
    parser.add_argument(
        "--opts",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change keys of the configuration, for those who train on, for example TRAIN.LR=2e-4",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists at --out")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and write the file."""
    args = make_parser().parse_args(argv)
    from safetensors.torch import save_file

    from spikevrt.data.files.atomic import replacing
    from spikevrt.models.checkpoint import check_finite, unwrap
    from spikevrt.models.weights.exported import as_stored, metadata_of
    from spikevrt.models.weights.files import read_state
    from spikevrt.models.weights.origin import check_format, check_weights_are_there, step_of, stored_config

    if args.out.suffix.lower() != SUFFIX:
        raise UserError(f"--out {shown(str(args.out))}: must end in {SUFFIX}")
    require_unread("--out", args.out, [args.checkpoint])
    if args.out.exists() and not args.overwrite:
        raise UserError(f"--out {args.out}: exists already; name another file, or give --overwrite")
    state = read_state(args.checkpoint)
    check_format(state, args.checkpoint)
    config = stored_config(state, args.checkpoint, args.opts)
    check_weights_are_there(state, config, args.checkpoint)
    weights, ema = unwrap(state, str(args.checkpoint))
    check_finite(weights, str(args.checkpoint))
    step = step_of(state)
    stored = {name: as_stored(name, x, args.half) for name, x in weights.items()}
    with replacing(args.out) as temporary:
        save_file(stored, temporary, metadata_of(config, step))
    kind = "moving average" if ema else "weights"
    sizes = (file.stat().st_size / 1e6 for file in (args.out, args.checkpoint))
    print(
        one_line(f"{args.out}: {kind} of step {'unknown' if step is None else step}")
        + ", {:.2f} MB (the checkpoint has {:.2f})".format(*sizes)
    )
    return 0


if __name__ == "__main__":
    run_command(main)
