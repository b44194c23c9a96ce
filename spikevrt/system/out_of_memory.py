"""Running out of memory, answered once with what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spikevrt.errors import UserError

TRAINING_ADVICE = (
    "in this order: MODEL.VRT.USE_CHECKPOINT_ATTN and USE_CHECKPOINT_FFN true; ADAPTIVE_CHUNK true with a smaller "
    "MAX_BATCH_TOKENS, or the triton backend; a smaller TRAIN.BATCH_SIZE; DATA.CROP_SIZE; DATA.CLIP_LEN; "
    "MODEL.CHANNELS_PER_SCALE [64,64,64,64]; TRAIN.ACCUMULATE_GRAD above 1 to keep the batch"
)
RESTORATION_ADVICE = "use a smaller DATA.CLIP_LEN, smaller frames, or --crop"
CPU_MESSAGE = "can't allocate memory"


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn an out-of-memory error into one line with advice."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(f"out of GPU memory; change {advice}") from None
    except RuntimeError as error:
        if CPU_MESSAGE not in str(error):
            raise
        raise UserError(f"out of memory; change {advice}") from None
