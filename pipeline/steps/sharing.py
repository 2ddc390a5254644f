"""How a prune step is shared out among the ranks of a job: who owns which columns of the bank."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...support.errors import InputError
from ...support.memory import format_size
from ..pruning.choice.patterns import axes_of_pieces, cut_step
from ..pruning.memory.plan import Room
from ..pruning.step import Method
from ..pruning.tensors.layout import Block, Layout
from ..pruning.tensors.prunables import Axes
from ..ranks.columns import share_out
from ..ranks.group import Ranks
from ..ranks.panels import COPIES, panel_rows
from ..ranks.sums import Sums
from ..ranks.traffic import Sizes, Traffic, foretold


@dataclass(frozen=True)
class Sharing:
    """The columns of one rank, and its way to the others.

    Args:
        ranks: the ranks.
        cuts: where the columns of each begin, and d.
        layout: of the columns of this one.
        axes: channels of the pieces of layers in it.
        traffic: counts what this rank sends.
    """

    ranks: Ranks
    cuts: tuple[int, ...]
    layout: Layout
    axes: dict[str, Axes]
    traffic: Traffic = field(default_factory=Traffic)

    def here(self, vector: Tensor) -> Tensor:
        """Return what this rank owns of a vector of all weights, a view."""
        return vector[self.layout.place]

    def whole(self, part: Tensor) -> Tensor:
        """Return the vector whose parts the ranks give."""
        count = part.numel() * part.element_size() * (self.ranks.size - 1)
        self.traffic.add("weights", count)
        return torch.cat(self.ranks.exchange([part] * self.ranks.size))

    def least_room(self, free: Room, *, on_gpu: bool) -> Room:
        """Return the least that a rank has, where those of a machine share what is free on it.

        The file system of the run directory is taken to be shared by all.
        """
        found = self.ranks.gather((socket.gethostname(), free))
        machines = Counter(machine for machine, _ in found)
        return Room(
            device=min(r.device // (1 if on_gpu else machines[m]) for m, r in found),
            host=min(r.host // machines[m] for m, r in found),
            disk=min(r.disk for _, r in found) // self.ranks.size,
        )

    def panel_bytes(self, rows: int) -> int:
        """Return the bytes of rows that are held on their way, at most."""
        d = self.layout.whole.total
        return COPIES * 4 * d * panel_rows(rows, self.ranks.size, d, 4)

    def describe(self, rows: int, row_bytes: int, method: Method) -> str:
        """Return a sentence for the user: what is owned, and what each rank sends in a step."""
        ranks = self.ranks.size
        owned = [high - low for low, high in zip(self.cuts, self.cuts[1:], strict=False)]
        sizes = Sizes(
            rows=rows,
            columns=owned,
            row_bytes=row_bytes,
            shared=shared_blocks(self.layout, method.fisher.block),
            gradient=method.need == "bank+gradient",
        )
        most = max(sum(foretold(sizes, rank).values()) for rank in range(ranks))
        return (
            f"shared out among {ranks} ranks: each owns {min(owned):,} to {max(owned):,} columns "
            f"and sends up to {format_size(most)} in a sub-step"
        )


def share_columns(
    ranks: Ranks, layout: Layout, axes: Mapping[str, Axes], method: Method, rows: int
) -> Sharing | None:
    """Share the columns of the bank out; None where there is one rank, or no bank.

    Without a bank every rank scores and updates all weights alike.

    Raises:
        InputError: when there are more ranks than gradients, or than pieces that stay together.
    """
    if ranks.size == 1 or method.need in ("nothing", "factors"):
        return None
    if rows < ranks.size:
        raise InputError(
            f"prune.gradients={rows} gives not one gradient to each of {ranks.size} ranks: "
            "take more gradients, or fewer ranks"
        )
    block = "network" if method.criterion == "mfac" else method.fisher.block
    steps = [
        cut_step(shape, axes[name], method.pattern, block) for name, shape in layout.shapes.items()
    ]
    try:
        cuts = share_out(list(layout.sizes.values()), steps, ranks.size)
    except ValueError as error:
        raise InputError(str(error)) from None
    traffic = Traffic()
    part = layout.part(cuts, Sums(ranks, traffic))
    return Sharing(ranks, cuts, part, axes_of_pieces(axes, part), traffic)


def shared_blocks(layout: Layout, block: Block) -> list[tuple[int, ...]]:
    """Return the parts that hold columns of each block of which several do."""
    if block == "network":
        return [tuple(range(layout.sums.parts))]
    if block != "layer":
        return []
    holders = [layout.holders(name) for name in layout.whole.sizes]
    return [parts for parts in holders if len(parts) > 1]
