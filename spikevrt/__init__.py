"""VRT+Spike: video deblurring with an RGB camera and a spike camera."""

__version__ = "0.1.0"
