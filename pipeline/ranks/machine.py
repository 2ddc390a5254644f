"""What the ranks of one machine have in common, in its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from ...support.one_copy import put
from .environment import first_on_machine, machine
from .group import Ranks

T = TypeVar("T")


def of_machine(ranks: Ranks, work: Callable[[], T]) -> T:
    """Return what ``work`` gives, done once on each machine.

    The others wait, however long it takes, and read the arrays in it from the same memory.

    Args:
        ranks: all of the job.
        work: gives what can be pickled; its arrays are not written to afterwards.
    """
    parcel = put(work()) if first_on_machine() else None
    ranks.wait()
    found = {where: given for where, given in ranks.gather((machine(), parcel)) if given}
    try:
        thing: T = found[machine()].take()
    except OSError as error:
        raise dist.DistError(f"the first rank of this machine is gone: {error}") from error
    ranks.wait()
    return thing
