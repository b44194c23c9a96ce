"""The MODEL section: VRT, the spike branch and the fusion."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spikevrt.config import checks
from spikevrt.config.limits import ENCODER_STAGES, PLACES
from spikevrt_kernels.core.names import CHOICES as ATTN_BACKENDS

CHUNK_SHAPES = ("square", "wide", "tall")
FUSE_TYPES = ("TemporalCrossAttn",)
U_STAGES = len(PLACES)


def default_heads(width: int) -> int:
    """6 where it divides the width, else the largest divisor up to 6."""
    return next(heads for heads in range(6, 0, -1) if width % heads == 0)


@dataclass(frozen=True)
class VRTConfig:
    """MODEL.VRT: the RGB backbone; none = derived from CHANNELS_PER_SCALE."""

    embed_dims: tuple[int, ...] | None = None
    num_heads: tuple[int, ...] | None = None
    depths: tuple[int, ...] = (8, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4)
    indep_reconsts: tuple[int, ...] | None = None
    """Groups of stage 8 (0-based index into DEPTHS) that attend inside single frames; none = the last two."""
    deform_groups: int = 16
    mlp_ratio: float = 2.0
    drop_path: float = 0.2
    pretrained: str | None = None
    """Official VRT weights (`.pth`); CC-BY-NC 4.0."""
    use_checkpoint_attn: bool = True
    use_checkpoint_ffn: bool = True

    def __post_init__(self) -> None:
        depths = self.depths
        checks.require(
            len(depths) > U_STAGES and all(d >= 1 for d in depths),
            "MODEL.VRT.DEPTHS",
            list(depths),
            f"at least {U_STAGES + 1} positive integers (7 stages, then the groups of stage 8)",
        )
        for key, values in (("EMBED_DIMS", self.embed_dims), ("NUM_HEADS", self.num_heads)):
            if values is not None:
                checks.require_length(f"MODEL.VRT.{key}", values, len(depths))
                checks.require_positive(f"MODEL.VRT.{key}", values)
        if self.indep_reconsts is not None:
            checks.require(
                all(U_STAGES <= i < len(depths) for i in self.indep_reconsts),
                "MODEL.VRT.INDEP_RECONSTS",
                list(self.indep_reconsts),
                f"indices of stage 8's groups, {U_STAGES} to {len(depths) - 1}",
            )
        checks.require_at_least("MODEL.VRT.DEFORM_GROUPS", self.deform_groups, 1)
        checks.require(self.mlp_ratio > 0, "MODEL.VRT.MLP_RATIO", self.mlp_ratio, "positive")
        checks.require(0 <= self.drop_path < 1, "MODEL.VRT.DROP_PATH", self.drop_path, "in [0, 1)")

    def resolve(self, channels: Sequence[int]) -> "VRTConfig":
        """Fill what is none from CHANNELS_PER_SCALE (4 widths) and check widths against heads and groups."""
        mirrored = (*channels, *reversed(channels[:-1]))
        derived = (*mirrored, *[channels[0]] * (len(self.depths) - U_STAGES))
        widths = self.embed_dims or derived
        checks.require(
            tuple(widths[:ENCODER_STAGES]) == tuple(channels),
            "MODEL.VRT.EMBED_DIMS",
            list(widths),
            f"equal to MODEL.CHANNELS_PER_SCALE = {list(channels)} in stages 1-4",
        )
        for stage, place in enumerate(PLACES):
            checks.require(
                place.skip is None or widths[stage] == widths[place.skip],
                "MODEL.VRT.EMBED_DIMS",
                list(widths),
                f"of equal width in stages {stage + 1} and {(place.skip or 0) + 1}, whose outputs are added",
            )
        checks.require(
            len(set(widths[U_STAGES:])) == 1,
            "MODEL.VRT.EMBED_DIMS",
            list(widths),
            "of one width in all groups of stage 8",
        )
        heads = self.num_heads or tuple(default_heads(width) for width in widths)
        for index, (width, head) in enumerate(zip(widths, heads, strict=True)):
            own = "MODEL.CHANNELS_PER_SCALE" if self.embed_dims is None else "MODEL.VRT.EMBED_DIMS"
            key = f"{own}[{index}]"
            checks.require(width % 4 == 0, key, width, "divisible by 4")
            checks.require(width % head == 0, key, width, f"divisible by its {head} heads (MODEL.VRT.NUM_HEADS)")
            if index < U_STAGES:
                checks.require(
                    width % self.deform_groups == 0,
                    key,
                    width,
                    f"divisible by MODEL.VRT.DEFORM_GROUPS = {self.deform_groups}",
                )
        last_two = (len(self.depths) - 2, len(self.depths) - 1)
        indep = tuple(i for i in last_two if i >= U_STAGES) if self.indep_reconsts is None else self.indep_reconsts
        return replace(self, embed_dims=tuple(widths), num_heads=tuple(heads), indep_reconsts=indep)


@dataclass(frozen=True)
class SpikeEncoderConfig:
    """MODEL.SPIKE_ENCODER: strides of the three downsamplings."""

    temporal_strides: tuple[int, ...] = (1, 1, 1)
    spatial_strides: tuple[int, ...] = (2, 2, 2)

    def __post_init__(self) -> None:
        for key in ("TEMPORAL_STRIDES", "SPATIAL_STRIDES"):
            values = getattr(self, key.lower())
            checks.require_length(f"MODEL.SPIKE_ENCODER.{key}", values, ENCODER_STAGES - 1)
            checks.require_positive(f"MODEL.SPIKE_ENCODER.{key}", values)


@dataclass(frozen=True)
class TemporalAttnConfig:
    """MODEL.SPIKE_TSA: attention along time at every pixel, and the chunks that bound its memory."""

    heads: int = 4
    dropout: float = 0.0
    """On the attention probabilities."""
    mlp_ratio: float = 2
    adaptive_chunk: bool = True
    """A chunk holds at most min(CHUNK_SIZE^2, MAX_BATCH_TOKENS // B) pixels; false = no chunks."""
    max_batch_tokens: int = 49152
    chunk_size: int = 64
    chunk_shape: str = "square"

    def check(self, section: str, channels: Sequence[int]) -> None:
        """Validate against the widths of the four scales; `section` names the keys in errors."""
        checks.require_at_least(f"{section}.HEADS", self.heads, 1)
        checks.require(0 <= self.dropout < 1, f"{section}.DROPOUT", self.dropout, "in [0, 1)")
        checks.require(self.mlp_ratio > 0, f"{section}.MLP_RATIO", self.mlp_ratio, "positive")
        checks.require_at_least(f"{section}.MAX_BATCH_TOKENS", self.max_batch_tokens, 1)
        checks.require_at_least(f"{section}.CHUNK_SIZE", self.chunk_size, 1)
        checks.require_choice(f"{section}.CHUNK_SHAPE", self.chunk_shape, CHUNK_SHAPES)
        for index, width in enumerate(channels):
            checks.require(
                width % self.heads == 0,
                f"MODEL.CHANNELS_PER_SCALE[{index}]",
                width,
                f"divisible by {section}.HEADS = {self.heads}",
            )


@dataclass(frozen=True)
class FuseConfig(TemporalAttnConfig):
    """MODEL.FUSE: cross-attention from RGB to spike features, after each encoder stage."""

    type: str = "TemporalCrossAttn"

    def check(self, section: str, channels: Sequence[int]) -> None:
        super().check(section, channels)
        checks.require_choice(f"{section}.TYPE", self.type, FUSE_TYPES)


@dataclass(frozen=True)
class ModelConfig:
    """MODEL: everything that shapes the network."""

    use_spike: bool = True
    """false = plain VRT."""
    channels_per_scale: tuple[int, ...] = (96, 96, 96, 96)
    window_size: tuple[int, ...] | None = None
    """Attention window (T, H, W); none = [CLIP_LEN, 8, 8]. Shapes the bias tables, so checkpoints keep it."""
    vrt: VRTConfig = field(default_factory=VRTConfig)
    spike_encoder: SpikeEncoderConfig = field(default_factory=SpikeEncoderConfig)
    spike_tsa: TemporalAttnConfig = field(default_factory=TemporalAttnConfig)
    fuse: FuseConfig = field(default_factory=FuseConfig)
    attn_backend: str = "auto"
    """triton, sdpa or naive; auto = on CUDA the fastest that proves right, operator by operator, elsewhere sdpa."""

    def __post_init__(self) -> None:
        checks.require_length("MODEL.CHANNELS_PER_SCALE", self.channels_per_scale, ENCODER_STAGES)
        checks.require_positive("MODEL.CHANNELS_PER_SCALE", self.channels_per_scale)
        if self.window_size is not None:
            checks.require_length("MODEL.WINDOW_SIZE", self.window_size, 3)
            checks.require_positive("MODEL.WINDOW_SIZE", self.window_size)
        checks.require_choice("MODEL.ATTN_BACKEND", self.attn_backend, ATTN_BACKENDS)

    def resolve(self, clip_len: int) -> "ModelConfig":
        """Fill what is none, for clips of `clip_len` frames, and check the widths of all parts."""
        if self.use_spike:
            self.spike_tsa.check("MODEL.SPIKE_TSA", self.channels_per_scale)
            self.fuse.check("MODEL.FUSE", self.channels_per_scale)
        window = self.window_size or (clip_len, 8, 8)
        return replace(self, window_size=tuple(window), vrt=self.vrt.resolve(self.channels_per_scale))
