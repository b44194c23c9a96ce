"""Rows, tables and pictures of results."""
