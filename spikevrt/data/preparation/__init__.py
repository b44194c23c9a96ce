"""Turning sharp video into the unified layout, and checking a layout."""
