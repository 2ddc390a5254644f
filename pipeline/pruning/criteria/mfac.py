"""The M-FAC criterion: one block for the whole network.

Frantar, Kurtic & Alistarh 2021 (arXiv 2107.03356), section 3, compute inverse-Fisher products for
all weights of the network as one block from N gradients. The space of the gradients does so
exactly, so this is woodfisher with its block set.
"""

from __future__ import annotations

from dataclasses import replace

from ..gradients.evidence import Evidence
from ..tensors.layout import Layout
from .criterion import Fisher
from .quadratic import Quadratic
from .woodfisher import woodfisher


def mfac(evidence: Evidence, layout: Layout, fisher: Fisher) -> Quadratic:
    """Return the quadratic model under the empirical Fisher of the network as one block.

    Arguments and errors are those of :func:`woodfisher`; ``fisher.block`` is not read.
    """
    return woodfisher(evidence, layout, replace(fisher, block="network"))
