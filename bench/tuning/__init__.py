"""Finding the fastest configuration of every kernel on one GPU."""
