"""Reads spike recordings: exposures, voxels and TFP pictures."""
