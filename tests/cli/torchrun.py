"""Several ranks of the program in forked children: what torchrun does, without its imports.

The process that forks them hosts the job's store, as torchrun does; when one rank ends badly it
ends the others and exits as that one did.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import NoReturn

from wfpipe.tests.cli.forked import PROGRAM, run_to_exit


def main(arguments: list[str]) -> NoReturn:
    """Run the program with all but the first argument, on as many ranks as that says."""
    ranks, given = int(arguments[0]), arguments[1:]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    os.environ.update(
        WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_USE_AGENT_STORE="True",
    )
    children = {_rank(rank, given) for rank in range(ranks)}
    import torch.distributed as dist

    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", port, is_master=True, wait_for_workers=False
    )
    code = 0
    while children:
        child, status = os.wait()
        children.discard(child)
        ended = os.waitstatus_to_exitcode(status)
        if ended and not code:
            code = ended if ended > 0 else 128 - ended
            for other in children:
                os.kill(other, signal.SIGTERM)
    del store
    sys.exit(code)


def _rank(rank: int, given: list[str]) -> int:
    child = os.fork()
    if not child:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        sys.argv = ["wfpipe", *given]
        run_to_exit(PROGRAM, given)
    return child
