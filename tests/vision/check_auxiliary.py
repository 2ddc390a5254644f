"""GoogLeNet and Inception of torchvision, with their auxiliary outputs, through the whole job.

python tests/vision/check_auxiliary.py [WORD]
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

import torch
from check_channels import declare_operators

import wfpipe
from wfpipe.exporters.packaging.verify import verify_package

SIZES = {"googlenet": 64, "inception_v3": 299}
SAMPLES = 4


def main() -> None:
    """Print a line for each network; fails where a job does."""
    warnings.simplefilter("ignore")
    declare_operators()
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, size in SIZES.items():
        if wanted in name:
            run(name, size)


def run(name: str, size: int) -> None:
    """Put one network through the job, with an epoch in training mode."""
    torch.manual_seed(0)
    models = import_module("torchvision.models")
    module = models.get_model(
        name, weights=None, num_classes=2, aux_logits=True, init_weights=False
    )
    assert not isinstance(module.train()(torch.zeros(2, 3, size, size)), torch.Tensor)
    samples = [(torch.randn(3, size, size), i % 2) for i in range(SAMPLES)]
    with tempfile.TemporaryDirectory() as folder:
        result = wfpipe.compress(
            module, train=samples, test=samples, sparsity=0.5, epochs=1, steps=1, lr=1e-4,
            criterion="magnitude", update="none", out=Path(folder) / "run",
            recipe={"data": {"batch": 2}, "validate": {"batches": [1], "runs": 100}},
        )  # fmt: skip
        verified = verify_package(result.run.package)
    print(f"{name}: sparsity {result.report.sparsity:.3f}; {verified}", flush=True)


if __name__ == "__main__":
    main()
