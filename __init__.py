"""wfpipe: second-order pruning of PyTorch models, down to a verified ONNX package.

from pathlib import Path
from wfpipe import Recipe, RunDirectory, load, prune_and_export

recipe = Recipe.model_validate({"prune": {"sparsity": 0.8}})
report = prune_and_export(recipe, RunDirectory(Path("runs/demo")))
module = load("runs/demo")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .support.version import __version__

if TYPE_CHECKING:
    from .pipeline.callbacks.lightning_callback import LightningPruning
    from .pipeline.callbacks.trainer_callback import TrainerPruning
    from .pipeline.recipe.recipe import Recipe
    from .pipeline.runs.directory import RunDirectory
    from .pipeline.stages.compress import Compressed, compress
    from .pipeline.stages.load import load
    from .pipeline.stages.run import prune_and_export
    from .pipeline.steps.pruner import Pruner
    from .support.errors import InputError

__all__ = [
    "Compressed",
    "InputError",
    "LightningPruning",
    "Pruner",
    "Recipe",
    "RunDirectory",
    "TrainerPruning",
    "__version__",
    "compress",
    "load",
    "prune_and_export",
]

_HOMES = {
    "Compressed": ".pipeline.stages.compress",
    "InputError": ".support.errors",
    "LightningPruning": ".pipeline.callbacks.lightning_callback",
    "Pruner": ".pipeline.steps.pruner",
    "Recipe": ".pipeline.recipe.recipe",
    "RunDirectory": ".pipeline.runs.directory",
    "TrainerPruning": ".pipeline.callbacks.trainer_callback",
    "compress": ".pipeline.stages.compress",
    "load": ".pipeline.stages.load",
    "prune_and_export": ".pipeline.stages.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: torch takes seconds, ``wfpipe --help`` must not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
