"""The RGB backbone."""

from spikevrt.models.vrt.vrt import VRT, Flows

__all__ = ["VRT", "Flows"]
