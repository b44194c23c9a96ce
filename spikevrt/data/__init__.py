"""Spike files, voxels, clips and samples."""
