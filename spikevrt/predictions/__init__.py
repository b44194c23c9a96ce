"""What a configuration needs, predicted without running it: work, memory of a step, memory of restoring."""
