"""Spike recordings and what is read from them."""
