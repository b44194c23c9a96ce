"""The ways to make a picture from spikes alone, as people name them; light enough for a command's `--help`."""

TFP, TFI = "tfp", "tfi"
WINDOWS = {TFP: 41, TFI: 11}
"""Method -> spike frames that one picture shows, unless somebody says otherwise.

TFI with 11 was chosen by eye and by the distance from the sharp frames of two recordings: intervals over fewer spike
frames flicker between few greys where it is bright, over more they blur what moves.
"""
STEP = 41
"""Spike frames from one picture to the next."""
LARGEST_WINDOW = 10_000
"""Spike frames of the longest window; as many frames of bits are in memory."""
