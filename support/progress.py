"""How long work tells what it is doing, without knowing whether anybody looks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Task(Protocol):
    """A piece of work under way."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count ``amount`` more units as done; ``note`` is a short figure shown beside the bar."""


class Reporter(Protocol):
    """Where a job's lines and progress bars go."""

    def say(self, text: str) -> None:
        """Show a result that every user wants to see."""

    def detail(self, text: str) -> None:
        """Show a line that only a user who asked for more wants to see."""

    def warn(self, text: str) -> None:
        """Show a line that the user should act on, even when asked to be quiet."""

    def task(self, what: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """Open a progress bar over ``total`` units of work, each called ``unit``."""


class _NoTask:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


class Silent:
    """A reporter that shows nothing: for use as a library, and for tests."""

    def say(self, text: str) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    def task(self, what: str, total: int, unit: str) -> AbstractContextManager[Task]:
        return nullcontext(_NoTask())


class Printed(Silent):
    """A reporter that prints results and warnings: for use in a notebook."""

    def say(self, text: str) -> None:
        print(text, flush=True)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", flush=True)
