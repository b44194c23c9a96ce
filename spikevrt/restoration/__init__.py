"""Restores long clips, measures the results and reports them."""
