"""Clips of a tree, and training samples of them."""
