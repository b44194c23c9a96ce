"""Spike recordings, voxels, clips and training samples."""
