"""Makes the repository of a user of the jobs; also a program.

    python workspace.py FOLDER SPARSITY

writes dense.onnx (the demo network), model.onnx (its weights pruned by magnitude, not trained
again), and data (the digits as an image folder). Half pruned it is still good, at 98 % it is not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image

from wfpipe.exporters.documents.preprocessing import Preprocessing
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.models.registry import load_model
from wfpipe.pipeline.data.sources.digits import load_digits

GOOD, BAD = 0.5, 0.98
"""Sparsities that cost 0.8 and 90 points of accuracy."""
TRAINING_IMAGES = 20


def write_dense(path: Path) -> None:
    """Export the demo network."""
    how = Preprocessing(kind="image", shape=(1, 8, 8), mean=(0.0,), std=(1.0,))
    network = load_model("digits-cnn", input_shape=(1, 8, 8), classes=10).module
    metadata = {"wfpipe.preprocessing": how.model_dump_json()}
    export_onnx(network, torch.zeros(2, 1, 8, 8), path, opset=20, metadata=metadata)


def write_pruned(path: Path, dense: Path, sparsity: float) -> None:
    """Write the dense model with the smallest weights of each large layer set to zero."""
    model = onnx.load(dense)
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor).copy()
        if weight.ndim > 1 and weight.size > 2000:
            weight[np.abs(weight) < np.quantile(np.abs(weight), sparsity)] = 0
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    path.write_bytes(model.SerializeToString())


def write_images(root: Path) -> None:
    """Write the digits as an image folder: all test images, few of the others."""
    digits = load_digits()
    for split, images, labels in (
        ("train", digits.train_images[:TRAINING_IMAGES], digits.train_labels[:TRAINING_IMAGES]),
        ("test", digits.test_images, digits.test_labels),
    ):
        for label in range(10):
            (root / split / str(label)).mkdir(parents=True, exist_ok=True)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(root / split / str(label) / f"{number}.png")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    write_dense(folder / "dense.onnx")
    write_pruned(folder / "model.onnx", folder / "dense.onnx", float(sys.argv[2]))
    write_images(folder / "data")
