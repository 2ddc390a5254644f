"""What a model is for: its outputs, its loss, its metrics."""
