"""ONNX Runtime sessions; accuracy, latency, size, memory; profiles."""
