"""The RGB backbone."""

from spikevrt.models.vrt.vrt import VRT

__all__ = ["VRT"]
