"""wfpipe: second-order pruning of PyTorch models, down to a verified ONNX package."""

__version__ = "0.1.0"
