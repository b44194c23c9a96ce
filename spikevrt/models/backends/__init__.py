"""Chooses the attention backends of a model and proves them right."""
