"""Compile the libraries of sparse kernels into the package that is installed.

    python -m wfpipe.exporters.runtime.building [PLATFORM...]

Without a platform, this machine's, unless it is newer than its sources. Other platforms, or any
where no C++ compiler works, need zig: pip install ziglang.
"""

from __future__ import annotations

import sys

from ...measuring.platforms import platform_name
from ..compiler import CompilationFailed
from .libraries import (
    LIBRARIES,
    NotBuilt,
    build_library,
    check_platforms,
    choose_compiler,
    switched_off,
    up_to_date,
)


def main(arguments: list[str]) -> int:
    """Build what ``arguments`` name; return 0, or 2 after a line about what cannot be built.

    Without arguments it is no fault that a machine has neither compiler nor library.
    """
    own = platform_name()
    if switched_off() and not arguments:
        return 0
    try:
        check_platforms(arguments or [own])
        for name in arguments or [own]:
            if arguments or not up_to_date(name):
                print(build_library(name, choose_compiler(name, portable=name != own)))
    except NotBuilt as error:
        print(f"sparse kernels: {error}", file=sys.stderr)
        stale = (LIBRARIES / own).is_dir()
        return 2 if arguments or stale or isinstance(error.__cause__, CompilationFailed) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
