"""The simulated spike camera."""
