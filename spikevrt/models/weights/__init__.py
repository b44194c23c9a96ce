"""Files of weights: what they are, whether they are whole, and what they hold."""
