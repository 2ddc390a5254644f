"""Two ONNX files and a data set in, a report with gates out."""
