"""The operators, shapes and entries that the benchmarks compare."""
