"""The TRAIN and TEST sections."""

from dataclasses import dataclass, replace

from spikevrt.config import checks

PROTOCOLS = ("rgb-float",)
DEFAULT_OVERLAP = 2


@dataclass(frozen=True)
class TrainConfig:
    """TRAIN: optimisation, precision, logging and checkpoints."""

    batch_size: int = 2
    """Samples per process and micro-batch."""
    num_workers: int = 4
    epochs: int = 100
    lr: float = 1e-4
    weight_decay: float = 0.0
    mixed_precision: bool = True
    """On CUDA products and convolutions take bf16 where the device has it, else fp16 with a scaler. Float32 stay: the
    flow and its gradients, sampling, statistics of norms, softmax, loss, weights, moments and the running mean.

    false, and on a CPU always: everything in float32. Float32 is true float32 everywhere, never TF32."""
    accumulate_grad: int = 1
    seed: int = 0
    max_steps: int | None = None
    """Optimiser steps; none = EPOCHS * ceil(samples / (BATCH_SIZE * world * ACCUMULATE_GRAD))."""
    warmup_steps: int = 500
    min_lr: float = 1e-7
    clip_grad_norm: float = 1.0
    """Largest L2 norm of all gradients together; 0 = no clipping."""
    ema_decay: float = 0.999
    """Decay of the running mean of the weights that is validated and saved; 0 = none."""
    charbonnier_eps: float = 1e-3
    freeze_flow_steps: int = 0
    """Steps for which SpyNet and the deformable layers stay frozen (fine-tuning: 20000)."""
    flow_lr_scale: float = 1.0
    """Their share of the learning rate afterwards (fine-tuning: 0.125)."""
    compile: bool = False
    output_dir: str = "runs"
    log_every: int = 20
    val_every: int = 1000
    save_every: int = 1000
    keep_last: int = 3
    """Numbered checkpoints kept beside `last` and `best`."""
    max_bad_steps: int = 50
    """Consecutive steps with a loss or gradient that is not finite before training stops."""

    def __post_init__(self) -> None:
        for key in ("BATCH_SIZE", "EPOCHS", "ACCUMULATE_GRAD", "LOG_EVERY", "VAL_EVERY", "SAVE_EVERY"):
            checks.require_at_least(f"TRAIN.{key}", getattr(self, key.lower()), 1)
        for key in ("NUM_WORKERS", "WARMUP_STEPS", "FREEZE_FLOW_STEPS", "KEEP_LAST", "SEED"):
            checks.require_at_least(f"TRAIN.{key}", getattr(self, key.lower()), 0)
        checks.require_at_least("TRAIN.MAX_BAD_STEPS", self.max_bad_steps, 1)
        if self.max_steps is not None:
            checks.require_at_least("TRAIN.MAX_STEPS", self.max_steps, 1)
        checks.require(0 < self.lr < float("inf"), "TRAIN.LR", self.lr, "a positive finite number")
        checks.require(0 <= self.min_lr <= self.lr, "TRAIN.MIN_LR", self.min_lr, "between 0 and TRAIN.LR")
        for key in ("WEIGHT_DECAY", "CLIP_GRAD_NORM", "FLOW_LR_SCALE"):
            checks.require_at_least(f"TRAIN.{key}", getattr(self, key.lower()), 0)
        checks.require(0 <= self.ema_decay < 1, "TRAIN.EMA_DECAY", self.ema_decay, "in [0, 1)")
        checks.require(
            self.charbonnier_eps > 0,
            "TRAIN.CHARBONNIER_EPS",
            self.charbonnier_eps,
            "positive (1e-3 is usual)",
        )
        checks.require(bool(self.output_dir), "TRAIN.OUTPUT_DIR", repr(self.output_dir), "a folder")


@dataclass(frozen=True)
class TestConfig:
    """TEST: how long clips are restored and how results are measured."""

    __test__ = False  # pytest would collect a class of this name

    clip_overlap: int | None = None
    """Frames that neighbouring windows of CLIP_LEN share; their results are averaged; none = 2, or 1 for CLIP_LEN 2."""
    protocol: str = "rgb-float"
    """PSNR and SSIM on RGB, float, no border."""

    def __post_init__(self) -> None:
        if self.clip_overlap is not None:
            checks.require_at_least("TEST.CLIP_OVERLAP", self.clip_overlap, 0)
        checks.require_choice("TEST.PROTOCOL", self.protocol, PROTOCOLS)

    def resolve(self, clip_len: int) -> "TestConfig":
        """Fill what is none, for windows of `clip_len` frames."""
        overlap = min(DEFAULT_OVERLAP, clip_len - 1) if self.clip_overlap is None else self.clip_overlap
        checks.require(overlap < clip_len, "TEST.CLIP_OVERLAP", overlap, f"below DATA.CLIP_LEN = {clip_len}")
        return replace(self, clip_overlap=overlap)
