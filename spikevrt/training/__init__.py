"""Training: steps, checkpoints, logs."""
