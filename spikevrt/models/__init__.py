"""The models, and the functions that build and load them."""

from spikevrt.models.backends.choose import choose_backends
from spikevrt.models.build import backbone, build_model, run_model
from spikevrt.models.checkpoint import LoadReport, load_weights
from spikevrt.models.spike_encoder3d import ResidualBlock3D, SpikeEncoder3D
from spikevrt.models.temporal import MultiScaleTemporalCrossAttnFuse, SpikeTemporalSA
from spikevrt.models.trained import load_trained_model
from spikevrt.models.vrt import VRT
from spikevrt.models.vrt_with_spike import VRTWithSpike
from spikevrt_kernels.core.names import Backends

__all__ = [
    "VRT",
    "Backends",
    "LoadReport",
    "MultiScaleTemporalCrossAttnFuse",
    "ResidualBlock3D",
    "SpikeEncoder3D",
    "SpikeTemporalSA",
    "VRTWithSpike",
    "backbone",
    "build_model",
    "choose_backends",
    "load_trained_model",
    "load_weights",
    "run_model",
]
