"""Shared parts of operators and checks: launches, backends, costs, cases."""
