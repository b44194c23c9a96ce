"""Which backend a model's attention takes."""
