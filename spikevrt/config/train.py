"""The TRAIN and TEST sections."""

from dataclasses import dataclass
from typing import ClassVar

from spikevrt.config.keys import (
    AUTO,
    BUDGET,
    ENDLESS,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    SHARE,
    TILE,
    Section,
    at_least,
    between,
    count,
    key,
    one_of,
    require,
)
from spikevrt.config.limits import MOST_PIXELS

PROTOCOLS = ("rgb-float", "y-uint8", "kair-gopro")
PRECISIONS = ("auto", "bf16", "fp16", "none")
CHARBONNIER, PSNR, COLOUR_PSNR = "charbonnier", "psnr", "colour-psnr"
DEFAULT_OVERLAP = 2


@dataclass(frozen=True)
class TrainConfig(Section):
    """Optimisation, precision, logging and checkpoints."""

    SECTION: ClassVar[str] = "TRAIN"

    batch_size: int = key(2, "Samples in one micro-batch of one process.", count(1, 2**16))
    num_workers: int = key(
        4, "Processes that load samples for each training process; 0 = it loads them itself.", count(0, 1024)
    )
    epochs: int = key(100, "Passes over the training samples, unless MAX_STEPS is given.", count(1, ENDLESS))
    lr: float = key(1e-4, "Highest learning rate, reached after WARMUP_STEPS.", POSITIVE)
    weight_decay: float = key(
        0.0, "AdamW's weight decay: every step subtracts WEIGHT_DECAY * learning rate * weight.", NOT_NEGATIVE
    )
    mixed_precision: str = key(
        "auto",
        "Type of products and convolutions: bf16, fp16 (with a gradient scaler), or none = float32. auto = on CUDA "
        "bf16 where the device has it, else fp16; on a CPU float32. The flow and its gradients, sampling, statistics "
        "of norms, softmax, loss, weights, moments and EMA are always float32, and float32 never means TF32. "
        "true and false are older words for auto and none.",
        one_of(PRECISIONS),
    )
    accumulate_grad: int = key(1, "Micro-batches whose gradients are added up for one optimiser step.", count(1, 2**16))
    seed: int = key(0, "Seed of the initial weights, the order of samples, and augmentation.", count(0, 2**63 - 1))
    max_steps: int | None = key(
        None,
        "Optimiser steps of the run; none = EPOCHS * ceil(samples / (BATCH_SIZE * processes * ACCUMULATE_GRAD)).",
        count(1, ENDLESS),
    )
    warmup_steps: int = key(
        500, "Number of steps in which the learning rate rises linearly from 0 to LR.", count(0, ENDLESS)
    )
    min_lr: float = key(1e-7, "Learning rate of the last step, at the end of a cosine; at most LR.", at_least(0))
    clip_grad_norm: float = key(1.0, "Largest L2 norm of all gradients together; 0 = no clipping.", at_least(0))
    ema_decay: float = key(
        0.999,
        "Decay of the EMA (exponential moving average) of the weights, which is validated and saved; 0 = no EMA.",
        SHARE,
    )
    loss: str = key(
        CHARBONNIER,
        "charbonnier, as published; or psnr = minus the mean PSNR of the frames in dB, in which frames of little blur "
        "count as much as others; or colour-psnr, in which errors of chroma and of the mean of areas count more.",
        one_of((CHARBONNIER, PSNR, COLOUR_PSNR)),
    )
    charbonnier_eps: float = key(
        1e-3,
        "eps of the Charbonnier loss, mean sqrt(difference^2 + eps^2), for pixel values in [0, 1].",
        between(1e-12, 1000),
    )
    freeze_flow_steps: int = key(
        0,
        "Steps for which SpyNet and the deformable layers stay frozen (20000 when fine-tuning); without "
        "MODEL.VRT.PRETRAINED the flow is zero during these steps.",
        count(0, ENDLESS),
    )
    flow_lr_scale: float = key(
        1.0,
        "Learning rate of SpyNet and the deformable layers as a multiple of LR (0.125 when fine-tuning).",
        NOT_NEGATIVE,
    )
    compile: bool = key(
        False,
        "Compile the model's blocks by torch.compile, one graph for each kind and size: minutes before the first step, "
        "and a C compiler is needed. Meant for where the fused kernels do not run.",
    )
    memory_budget_gb: str | None = key(
        None,
        "Largest predicted memory of a training step in one process, in GB (10^9 bytes): what is not kept for the "
        "backward pass is computed again, as little of it as possible. auto = what the device has free, less what "
        "CUDA, libraries and gaps between tensors take; a number is for tensors alone. none = "
        "MODEL.VRT.USE_CHECKPOINT_ATTN and USE_CHECKPOINT_FFN decide, which otherwise mean nothing.",
        BUDGET,
        free=True,
    )
    output_dir: str = key("runs", "Folder for checkpoints, config.yaml and logs of one run.", PATH, path=True)
    log_every: int = key(20, "Steps from one line of the log to the next.", count(1, ENDLESS))
    val_every: int = key(1000, "Steps from one validation to the next.", count(1, ENDLESS))
    val_crop_size: str | None = key(
        AUTO,
        "Side in pixels of the centre crops that are validated. auto = DATA.CROP_SIZE. none = whole frames, in tiles "
        "as TEST.TILE_SIZE says.",
        TILE,
    )
    save_every: int = key(1000, "Steps from one numbered checkpoint to the next.", count(1, ENDLESS))
    keep_last: int = key(3, "Numbered checkpoints that are kept beside last.pt and best.pt.", count(0, ENDLESS))
    max_bad_steps: int = key(
        50, "Consecutive steps with a loss or gradient that is not finite before training stops.", count(1, ENDLESS)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.min_lr <= self.lr, "TRAIN.MIN_LR", self.min_lr, "between 0 and TRAIN.LR")


@dataclass(frozen=True)
class TestConfig(Section):
    """How long clips are restored and how results are measured."""

    SECTION: ClassVar[str] = "TEST"
    __test__ = False  # Otherwise pytest would collect this class, because of its name.

    clip_overlap: int = key(
        DEFAULT_OVERLAP,
        "Frames that neighbouring temporal windows of CLIP_LEN frames share; their results are blended. Below "
        "DATA.CLIP_LEN; "
        "none = 2, or 1 for CLIP_LEN 2.",
        count(0, 1024),
        derived=True,
    )
    tile_size: str | None = key(
        AUTO,
        "Largest height and width in pixels of the tiles in which frames are restored: memory grows with the tile. "
        "auto = frames stay whole if memory allows, else the largest tiles that fit. none = frames stay whole.",
        TILE,
        free=True,
    )
    tile_overlap: int = key(
        64,
        "Pixels that neighbouring tiles share at least; their results are blended. Tiles start at whole attention "
        "windows of the coarsest stage (8 windows of pixels), so that they may share more.",
        count(0, MOST_PIXELS),
        free=True,
    )
    protocol: str = key(
        "rgb-float",
        "How evaluation measures PSNR and SSIM. rgb-float: RGB in float, mean over frames. y-uint8: Y of BT.601 of RGB "
        "rounded to 8 bits. kair-gopro: RGB rounded to 8 bits, mean over clips. Validation always takes rgb-float.",
        one_of(PROTOCOLS),
        free=True,
    )
