"""Sparse kernels for ONNX Runtime: their source, its compilation, the weights they read."""
