"""A place where one input is read, and what shows that reading it did something it must not."""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from wfpipe.support.errors import CheckFailed, InputError

MEMORY_BYTES = 400 << 20  # that reading one small file may add to what the process ever took
ADDRESS_BYTES = 3 << 30  # beyond this no allocation succeeds, which must end in a refusal too
ALLOWED_EXITS = (0, 2, 3)
_WRITES = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
}  # fmt: skip
_STARTS = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty",
    "pty.spawn", "socket.connect", "webbrowser.open",
}  # fmt: skip


def _reset_peak() -> int:
    """Set the peak of this process's memory to what it holds, where it can, and return it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Return the most bytes of memory that this process held; getrusage begins at its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


class Sandbox:
    """The folder that reading may write to, and a watch over all other writing by Python."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.folder = self.root / "in" / "here"
        self.temporary = self.root / "temporary"
        for folder in (self.folder, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        self.offences: list[str] = []
        self._watching = False
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)
        os.chdir(self.folder)
        self._before = self._outside()
        sys.addaudithook(self._audit)
        with Path("/proc/self/statm").open() as file:
            in_use = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + ADDRESS_BYTES,) * 2)

    def run(
        self, read: Callable[[Path], None], path: Path, allowed: int | None = MEMORY_BYTES
    ) -> str | None:
        """Read a file and return what was wrong in one word or line, or None if all was well.

        ``allowed``: bytes of memory that this may add; None: any, as where a model is run.
        """
        out, err = io.StringIO(), io.StringIO()
        peak = _reset_peak()
        self.offences.clear()
        self._watching = True
        fault = None
        try:
            with redirect_stdout(out), redirect_stderr(err):
                read(path)
        except SystemExit as end:
            fault = judge_exit(end.code, err.getvalue())
        except (InputError, CheckFailed) as error:
            fault = judge_line(str(error))
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        finally:
            self._watching = False
        grown = _peak() - peak
        if fault is None and allowed is not None and grown > allowed:
            fault = f"took {grown >> 20} MiB of memory"
        if self.offences:
            fault = f"did {self.offences[0]}"
        if self._outside() != self._before:
            fault = "wrote outside its folder"
        return fault

    def _outside(self) -> list[int]:
        """Return when the folders around that of the input last got or lost an entry, in ns."""
        return [folder.stat().st_mtime_ns for folder in (self.root, self.root / "in")]

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event in _STARTS:
            self.offences.append(f"{event} {arguments[0]!r}"[:200])
        elif event in _WRITES:
            self._note(event, arguments[0])
        elif event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if flags else mode
            if isinstance(writes, str):
                writes = set(writes) & set("wax+")
            if writes and not isinstance(path, int):
                self._note(event, path)

    def _note(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        whole = os.path.realpath(os.fsdecode(path))
        inside = whole.startswith((str(self.folder) + os.sep, str(self.temporary)))
        if not inside and whole not in (os.devnull, str(self.folder)):
            self.offences.append(f"{event} {whole!r}"[:200])


def judge_exit(code: Any, err: str) -> str | None:
    """Return what is wrong with an exit code and what was written to standard error, or None."""
    number = 0 if code is None else code
    if number not in ALLOWED_EXITS:
        return f"exit {number}: {err.strip()[:500]}"
    return judge_line(err) if number else None


def judge_line(line: str) -> str | None:
    """Return what is wrong with an error, which must be one line of bounded length, or None."""
    text = line.strip()
    if not text or "\n" in text:
        return f"says {text[:200]!r}, which is not one line"
    if "out of memory" in text:
        return f"ran out of memory: {text[:200]}"
    if len(text) > 4000:
        return f"says a line of {len(text)} characters: {text[:100]}"
    return None
