"""Which task a recipe names."""

from __future__ import annotations

from ...models.given import is_given, not_given
from ...models.sources import is_factory
from ...support.errors import unknown
from ..recipe.task import TASKS, TaskSettings
from .classification import Classification
from .multilabel import Multilabel
from .next_token import NextToken
from .own import OwnTask
from .regression import Regression
from .segmentation import Segmentation
from .task import Task

_KINDS: tuple[type[Task], ...] = (
    Classification, Multilabel, Regression, Segmentation, NextToken
)  # fmt: skip


DEFAULT_TASK = Classification(TaskSettings())
"""Classification, by the only output."""


def open_task(settings: TaskSettings) -> Task:
    """Return the task of a recipe.

    Raises:
        InputError: when it is unknown, or a user's own cannot be loaded.
    """
    if is_given(settings.kind):
        raise not_given("task", settings.kind)
    if is_factory(settings.kind):
        return OwnTask(settings)
    for kind in _KINDS:
        if kind.kind == settings.kind:
            return kind(settings)
    raise unknown(
        "task", settings.kind, TASKS, more="Another form: FILE.py:TASK, a task of your own"
    )
