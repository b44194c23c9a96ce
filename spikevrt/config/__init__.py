"""The configuration: frozen dataclasses that check their values, read from YAML and `KEY=VALUE` options."""

from spikevrt.config.data import DataConfig, NormConfig, RecordingConfig
from spikevrt.config.loader import (
    apply_option,
    config_from_tree,
    config_to_tree,
    config_to_yaml,
    distinct_presets,
    free_keys,
    load_config,
    preset_names,
    preset_text,
    read_yaml,
)
from spikevrt.config.model import (
    ATTN_BACKENDS,
    FuseConfig,
    ModelConfig,
    SpikeEncoderConfig,
    TemporalAttnConfig,
    VRTConfig,
)
from spikevrt.config.schema import Config
from spikevrt.config.train import TestConfig, TrainConfig

__all__ = [
    "ATTN_BACKENDS",
    "Config",
    "DataConfig",
    "FuseConfig",
    "ModelConfig",
    "NormConfig",
    "RecordingConfig",
    "SpikeEncoderConfig",
    "TemporalAttnConfig",
    "TestConfig",
    "TrainConfig",
    "VRTConfig",
    "apply_option",
    "config_from_tree",
    "config_to_tree",
    "config_to_yaml",
    "distinct_presets",
    "free_keys",
    "load_config",
    "preset_names",
    "preset_text",
    "read_yaml",
]
