"""Labels drawn from what the network itself believes, for the true Fisher."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_labels(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a label for each sample from the softmax of the network's outputs.

    The Fisher information of a classifier is the second moment of gradients whose labels are drawn
    like this; with the labels of the data it is the empirical Fisher (Martens 2020, "New insights
    and perspectives on the natural gradient method", JMLR 21:146, section 5; Kunstner et al. 2019,
    arXiv 1905.12558, section 2).

    Random numbers are taken on the CPU, sample by sample, one for each position: a seed draws the
    same labels on every device and however the samples are cut into batches.

    Args:
        outputs: logits, ``Float[n, classes, *positions]``.
        generator: on the CPU; its state moves on.

    Returns:
        Class indices ``Int64[n, *positions]``, on the device of ``outputs``.

    Raises:
        ValueError: when the outputs are no logits of at least one class.
    """
    if outputs.dim() < 2 or outputs.shape[1] == 0:
        raise ValueError(
            "labels can be sampled from outputs of shape (samples, classes, ...) only, "
            f"got {tuple(outputs.shape)}"
        )
    logits = outputs.detach().to("cpu", torch.float64).movedim(1, -1)
    cumulative = logits.softmax(-1).cumsum(-1)
    uniform = torch.stack(
        [torch.rand(row.shape[:-1], generator=generator, dtype=torch.float64) for row in cumulative]
    )
    below = cumulative <= uniform[..., None] * cumulative[..., -1:]
    return below.sum(-1).clamp(max=logits.shape[-1] - 1).to(outputs.device)
