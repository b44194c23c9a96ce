"""Figures that a source tree gives without being run: imports and functions."""
