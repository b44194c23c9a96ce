"""Results of benchmarks: how rows are measured, printed and drawn."""
