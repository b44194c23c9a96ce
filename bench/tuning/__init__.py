"""Finds the fastest configuration of every kernel on a GPU."""
