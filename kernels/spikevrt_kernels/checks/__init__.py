"""Checks of operators on any machine: cases, errors against float64, times."""
