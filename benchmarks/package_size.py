"""How small the package of a pruned network is beside the dense model, both deflated.

    python benchmarks/package_size.py

ResNet-20 for images of 3 × 32 × 32 with random weights, 90 % of the weights of its convolutions and
linear layer pruned by magnitude, packed by the whole job: the model, infer.py, the golden samples
(images of random pixels, which deflate worst), the manifest and the model card, and the archive's
own records. The figure is the size of package.zip over that of the deflated dense.onnx.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np

from wfpipe import Recipe, RunDirectory, prune_and_export

SAMPLES = 128


def main() -> None:
    """Run the job on random images and print the sizes."""
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        data = Path(folder) / "data.npz"
        random = np.random.default_rng(0)
        images = random.integers(256, size=(SAMPLES, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(SAMPLES) % 10
        np.savez(data, x_train=images, y_train=labels, x_test=images, y_test=labels)
        recipe = {
            "model": {"name": "resnet20", "weights": "random"},
            "data": {"source": str(data), "mean": 0.5, "std": 0.25},
            "prune": {"sparsity": 0.9, "criterion": "magnitude", "update": "none", "steps": 1,
                      "include": ["*"], "exclude": []},
            "finetune": {"epochs": 0},
            "validate": {"runs": 100, "batches": [1]},
        }  # fmt: skip
        run = RunDirectory(Path(folder) / "run")
        report = prune_and_export(Recipe.model_validate(recipe), run)
        size = run.package.stat().st_size
        with zipfile.ZipFile(run.package) as archive:
            for entry in archive.infolist():
                print(f"{entry.filename}: {entry.compress_size} bytes deflated")
        print(f"package.zip: {size} bytes at sparsity {report.sparsity:.4f}")
        print(f"dense.onnx: {report.dense.deflated_bytes} bytes deflated")
        print(f"figure: {size / report.dense.deflated_bytes:.4f}")


if __name__ == "__main__":
    main()
