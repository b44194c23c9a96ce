"""The MODEL section: VRT, the spike branch and the fusion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from spikevrt.config.keys import (
    ENDLESS,
    PATH,
    SHARE,
    Rule,
    Section,
    above,
    count,
    key,
    one_of,
    positives,
    require,
    require_length,
)
from spikevrt.config.limits import ENCODER_STAGES, PLACES
from spikevrt_kernels.core.names import CHOICES as ATTN_BACKENDS

CHUNK_SHAPES = ("square", "wide", "tall")
FUSE_TYPES = ("TemporalCrossAttn",)
U_STAGES = len(PLACES)
MOST_CHANNELS = 8192
MOST_GROUPS, MOST_BLOCKS = 64, 512
MOST_TOKENS = 4096
"""The official windows have 2 * 8 * 8 or 6 * 8 * 8 tokens; tables of all pairs grow with the square."""
STAGES = Rule(
    f"at least {U_STAGES + 1} positive integers (7 stages, then the groups of stage 8), at most {MOST_GROUPS}, with a "
    f"sum of at most {MOST_BLOCKS}",
    lambda depths: U_STAGES < len(depths) <= MOST_GROUPS and min(depths) >= 1 and sum(depths) <= MOST_BLOCKS,
)
WIDTHS = Rule(
    f"positive integers, at most {MOST_CHANNELS}", lambda values: all(0 < value <= MOST_CHANNELS for value in values)
)
WINDOW = Rule(
    f"a list of exactly 3 values, all positive, with a product of at most {MOST_TOKENS}",
    lambda sides: len(sides) == 3 and min(sides) > 0 and math.prod(sides) <= MOST_TOKENS,
)
RATIO = above(0, 64)
DIVISOR = count(1, MOST_CHANNELS)
STRIDES = positives(ENCODER_STAGES - 1, 64)


@dataclass(frozen=True)
class VRTConfig(Section):
    """The RGB backbone. Its lists hold one value for each stage 1-7 and each group of stage 8."""

    SECTION: ClassVar[str] = "MODEL.VRT"

    embed_dims: tuple[int, ...] = key(
        (96,) * 13, "Channels of every stage and group; none = as CHANNELS_PER_SCALE says.", WIDTHS, derived=True
    )
    num_heads: tuple[int, ...] = key(
        (6,) * 13,
        "Attention heads of every stage and group; none = 6 where it divides the channels, else the largest divisor "
        "below.",
        WIDTHS,
        derived=True,
    )
    depths: tuple[int, ...] = key(
        (8, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4), "Attention blocks of every stage and group.", STAGES
    )
    indep_reconsts: tuple[int, ...] = key(
        (11, 12),
        "Groups of stage 8 (0-based index into DEPTHS) that attend inside single frames; none = the last two.",
        derived=True,
    )
    deform_groups: int = key(16, "Groups of the deformable convolutions; each group has its own offsets.", DIVISOR)
    mlp_ratio: float = key(2.0, "Hidden width of the MLPs, as a multiple of the channels.", RATIO)
    drop_path: float = key(
        0.2,
        "Probability of skipping a block of the last stage in training; it rises from 0 at the first.",
        SHARE,
        free=True,
    )
    pretrained: str | None = key(
        None, "Official VRT weights (.pth) to load; their licence is CC-BY-NC 4.0.", PATH, free=True, path=True
    )
    use_checkpoint_attn: bool = key(
        True, "Recompute attention in the backward pass: less memory, more time.", free=True
    )
    use_checkpoint_ffn: bool = key(True, "Recompute the MLPs in the backward pass: less memory, more time.", free=True)

    def __post_init__(self) -> None:
        # Lists that may be derived are checked in `fit`, after the values they are derived from.
        self.check({"depths", "deform_groups", "mlp_ratio", "drop_path", "pretrained"})
        require(
            all(U_STAGES <= i < len(self.depths) for i in self.indep_reconsts),
            "MODEL.VRT.INDEP_RECONSTS",
            list(self.indep_reconsts),
            f"indices of stage 8's groups, {U_STAGES} to {len(self.depths) - 1}",
        )

    def fit(self, channels: Sequence[int]) -> None:
        """Check the widths of stages and groups against CHANNELS_PER_SCALE, skips, heads and deformable groups."""
        self.check({"embed_dims", "num_heads"})
        for name, values in (("EMBED_DIMS", self.embed_dims), ("NUM_HEADS", self.num_heads)):
            require_length(f"MODEL.VRT.{name}", values, len(self.depths))
        widths = self.embed_dims
        require(
            widths[:ENCODER_STAGES] == tuple(channels),
            "MODEL.VRT.EMBED_DIMS",
            list(widths),
            f"equal to MODEL.CHANNELS_PER_SCALE = {list(channels)} in stages 1-4",
        )
        for stage, place in enumerate(PLACES):
            require(
                place.skip is None or widths[stage] == widths[place.skip],
                "MODEL.VRT.EMBED_DIMS",
                list(widths),
                f"of equal width in stages {stage + 1} and {(place.skip or 0) + 1}, whose outputs are added",
            )
        require(
            len(set(widths[U_STAGES:])) == 1,
            "MODEL.VRT.EMBED_DIMS",
            list(widths),
            "of one width in all groups of stage 8",
        )
        own = "MODEL.CHANNELS_PER_SCALE" if widths == mirrored(channels, len(widths)) else "MODEL.VRT.EMBED_DIMS"
        for index, (width, heads) in enumerate(zip(widths, self.num_heads, strict=True)):
            self.fit_width(f"{own}[{index}]", width, heads, deformable=index < U_STAGES)

    def fit_width(self, name: str, width: int, heads: int, deformable: bool) -> None:
        """Check the width of one stage with parallel warping (`deformable`) or of one group of stage 8."""
        require(width % 4 == 0, name, width, "divisible by 4")
        require(width % heads == 0, name, width, f"divisible by its {heads} heads (MODEL.VRT.NUM_HEADS)")
        require_hidden("MODEL.VRT.MLP_RATIO", self.mlp_ratio, width)
        if deformable:
            groups = self.deform_groups
            require(width % groups == 0, name, width, f"divisible by MODEL.VRT.DEFORM_GROUPS = {groups}")


@dataclass(frozen=True)
class SpikeEncoderConfig(Section):
    """Strides of the three downsamplings between the four scales of spike features."""

    SECTION: ClassVar[str] = "MODEL.SPIKE_ENCODER"

    temporal_strides: tuple[int, ...] = key((1, 1, 1), "Strides along time.", STRIDES)
    spatial_strides: tuple[int, ...] = key((2, 2, 2), "Strides along height and width.", STRIDES)


@dataclass(frozen=True)
class TemporalAttnConfig(Section):
    """Self-attention of the spike features along time at every pixel, and the chunks that bound its memory."""

    SECTION: ClassVar[str] = "MODEL.SPIKE_TSA"

    heads: int = key(4, "Attention heads; every width of CHANNELS_PER_SCALE must be divisible by them.", DIVISOR)
    dropout: float = key(0.0, "Dropout of the attention probabilities.", SHARE, free=True)
    mlp_ratio: float = key(2, "Hidden width of the MLP, as a multiple of the channels.", RATIO)
    adaptive_chunk: bool = key(
        True,
        "true = pixels are computed in chunks of at most min(CHUNK_SIZE^2, MAX_BATCH_TOKENS // batch); false = all at "
        "once.",
        free=True,
    )
    max_batch_tokens: int = key(
        49152, "Largest number of pixels per chunk, over all clips of a batch.", count(1, ENDLESS), free=True
    )
    chunk_size: int = key(64, "Side of a square chunk, in pixels.", count(1, ENDLESS), free=True)
    chunk_shape: str = key(
        "square", "Shape of a chunk, which does not change its number of pixels.", one_of(CHUNK_SHAPES), free=True
    )

    def fit(self, channels: Sequence[int]) -> None:
        """Check that the heads divide the widths of the four scales."""
        for index, width in enumerate(channels):
            require(
                width % self.heads == 0,
                f"MODEL.CHANNELS_PER_SCALE[{index}]",
                width,
                f"divisible by {self.SECTION}.HEADS = {self.heads}",
            )
            require_hidden(f"{self.SECTION}.MLP_RATIO", self.mlp_ratio, width)


@dataclass(frozen=True)
class FuseConfig(TemporalAttnConfig):
    """Cross-attention from RGB features to spike features along time, after each stage of the encoder."""

    SECTION: ClassVar[str] = "MODEL.FUSE"

    type: str = key("TemporalCrossAttn", "How RGB and spike features are fused.", one_of(FUSE_TYPES))


@dataclass(frozen=True)
class ModelConfig(Section):
    """Everything that shapes the network."""

    SECTION: ClassVar[str] = "MODEL"

    use_spike: bool = key(True, "false = plain VRT, without spikes.")
    channels_per_scale: tuple[int, ...] = key(
        (96, 96, 96, 96),
        "Channels at the scales 1, 1/2, 1/4 and 1/8, of RGB and spike features.",
        positives(ENCODER_STAGES, MOST_CHANNELS),
    )
    window_size: tuple[int, ...] = key(
        (5, 8, 8),
        "Attention window (T, H, W), in pixels of a stage; none = [CLIP_LEN, 8, 8]. The size of the bias "
        "tables depends on it, so a trained model needs the same value.",
        WINDOW,
        derived=True,
    )
    vrt: VRTConfig = field(default_factory=VRTConfig)
    spike_encoder: SpikeEncoderConfig = field(default_factory=SpikeEncoderConfig)
    spike_tsa: TemporalAttnConfig = field(default_factory=TemporalAttnConfig)
    fuse: FuseConfig = field(default_factory=FuseConfig)
    attn_backend: str = key(
        "auto",
        "How attention and what is around it are computed: triton (fused kernels), sdpa or naive (plain PyTorch); "
        "auto = on CUDA the fastest backend that is proved right, for each operator, elsewhere sdpa.",
        one_of(ATTN_BACKENDS),
        free=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_spike:
            self.spike_tsa.fit(self.channels_per_scale)
            self.fuse.fit(self.channels_per_scale)
        self.vrt.fit(self.channels_per_scale)


def require_hidden(key: str, ratio: float, width: int) -> None:
    """Fail unless an MLP on `width` channels has hidden ones."""
    require(int(width * ratio) >= 1, key, ratio, f"at least 1/{width}, so that {width} channels have a hidden one")


def mirrored(channels: Sequence[int], count: int) -> tuple[int, ...]:
    """Widths of stages 1-7, which go down the scales and up again, then of the groups of stage 8 at the first scale."""
    down_and_up = (*channels, *reversed(channels[:-1]))
    last = (channels[0],) if channels else ()
    return down_and_up + last * (count - len(down_and_up))
