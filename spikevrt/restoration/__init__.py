"""Restoring long clips, metrics and reports."""
