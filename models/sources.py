"""Networks that are not built in: ``timm:NAME``, ``torchvision:NAME`` and ``FILE.py:FACTORY``."""

from __future__ import annotations

import difflib
import itertools
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ..support.errors import InputError, unknown
from ..support.files import read_bytes

_USER_MODULE = "wfpipe_user_file_{}"
_numbers = itertools.count(1)
_helpers: dict[str, Path] = {}
_added: dict[Path, tuple[str, ...]] = {}
"""What a user's file puts on ``sys.path`` when it is imported, there again for its factory."""


def is_factory(spec: str) -> bool:
    """Tell whether ``spec`` has the form ``FILE.py:FACTORY``, or would but for the factory."""
    return spec.endswith(".py") or spec.rpartition(":")[0].endswith(".py")


def load_factory(spec: str, what: str) -> Callable[[], Any]:
    """Import the file of ``FILE.py:FACTORY`` and return its factory, ready to be called.

    The file is imported anew each time, as a module with a name of its own. Modules beside it can
    be imported while it loads and while the factory runs, not later; ``sys.path`` is restored.

    Args:
        spec: the path of the file, a colon, and the name of a function or class in it.
        what: what the factory makes, for the errors: ``"model"`` or ``"data"``.

    Returns:
        A function without arguments that calls the factory, returns what it returns, and turns
        what it raises into an :class:`InputError`.

    Raises:
        InputError: when the file is missing or empty, cannot be imported, or has no such factory.
    """
    file, _, name = (spec, "", "") if spec.endswith(".py") else spec.rpartition(":")
    if not name:
        raise InputError(
            f"{what} {spec!r} names no factory: pass FILE.py:FACTORY, such as {file}:build"
        )
    path = Path(file)
    source = read_bytes(path, f"{what} file")
    with _user_code(path, f"{what} file {file!r} cannot be imported"):
        module = _import(path, source)
    factory = getattr(module, name, None)
    if factory is None:
        raise _no_such_factory(module, spec, what)
    if not callable(factory):
        kind = type(factory).__name__
        raise InputError(f"{what} factory {spec!r} must be a function or class, got a {kind}")

    def call() -> Any:
        with _user_code(path, f"{what} factory {spec!r} failed"):
            return factory()

    return call


def build_from_factory(spec: str) -> nn.Module:
    """Return the network that the factory of ``FILE.py:FACTORY`` makes.

    Raises:
        InputError: as :func:`load_factory`, or when the factory fails or returns something else.
    """
    module = load_factory(spec, "model")()
    if not isinstance(module, nn.Module):
        got = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise InputError(f"model factory {spec!r} must return a torch.nn.Module, got {got}")
    return module


def build_from_library(library: str, name: str, *, pretrained: bool, classes: int) -> nn.Module:
    """Return the network ``name`` of timm or torchvision.

    Args:
        library: ``"timm"`` or ``"torchvision"``.
        name: the library's name of the network.
        pretrained: whether to load the library's own weights, which it may have to download.
        classes: number of classes of the network's last layer.

    Raises:
        InputError: when the library cannot be imported, has no such network, or fails to make it.
    """
    models = import_library(library)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if library == "timm":
                module = models.create_model(name, pretrained=pretrained, num_classes=classes)
            else:
                weights = "DEFAULT" if pretrained else None
                module = models.get_model(name, weights=weights, num_classes=classes)
    except Exception as error:  # whatever the library raises
        near = difflib.get_close_matches(name, _names(models), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near and near[0] != name else ""
        raise InputError(
            f"model {library + ':' + name!r}: {hint}{library} says {_one_line(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"model {library + ':' + name!r} is not a torch.nn.Module")
    trained_for = (getattr(module, "pretrained_cfg", None) or {}).get("num_classes", classes)
    if pretrained and trained_for != classes:  # timm leaves the last layer random without a word
        raise InputError(
            f"model {library + ':' + name!r}: its pretrained weights are for {trained_for} classes "
            f"and the data has {classes}: fine-tune the model first, then pass --weights FILE"
        )
    return module


def import_library(library: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("timm" if library == "timm" else "torchvision.models")
    except Exception as error:  # a build for another torch fails in many ways
        raise InputError(
            f'{library} cannot be imported: install it with pip install "wfpipe[vision]" '
            f"({_one_line(error)})"
        ) from error


def _names(models: Any) -> list[str]:
    try:
        return [str(name) for name in models.list_models()]
    except Exception:  # the names are only for a hint
        return []


def _import(path: Path, source: bytes) -> ModuleType:
    module = ModuleType(_USER_MODULE.format(next(_numbers)))
    module.__file__ = str(path.resolve())
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, module.__file__, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


@contextmanager
def _user_code(path: Path, failure: str) -> Iterator[None]:
    """Run code of the file ``path`` with its folder importable; an error becomes one line."""
    folder = path.resolve().parent
    _forget_helpers_outside(folder)
    search_path, loaded = list(sys.path), set(sys.modules)
    sys.path[:0] = [str(folder), *_added.get(path.resolve(), ())]
    try:
        yield
    except (Exception, SystemExit) as error:
        line = _line_in(path, error)
        where = f" (line {line})" if line else ""
        raise InputError(f"{failure}{where}: {_one_line(error)}") from error
    finally:
        known = {*search_path, str(folder)}
        _added[path.resolve()] = tuple(dict.fromkeys(p for p in sys.path if p not in known))
        sys.path[:] = search_path
        if str(folder) not in search_path:
            _remember_helpers(folder, sys.modules.keys() - loaded)


def _remember_helpers(folder: Path, names: set[str]) -> None:
    """Note which of the modules ``names`` were found through ``folder`` as a search path."""
    for name in names:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(folder):
            entry = Path(origin).relative_to(folder).parts[0]
            if entry.partition(".")[0] == name.partition(".")[0]:
                _helpers[name] = folder


def _forget_helpers_outside(folder: Path) -> None:
    """Let ``folder`` have modules of the same names as those beside another user's file."""
    for name in [name for name, home in _helpers.items() if home != folder]:
        sys.modules.pop(name, None)
        del _helpers[name]


def _line_in(path: Path, error: BaseException) -> int | None:
    """Return the last line of the file ``path`` that the error came through, if any."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == str(path.resolve())]
    return lines[-1] if lines else None


def _no_such_factory(module: ModuleType, spec: str, what: str) -> InputError:
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    file, _, name = spec.rpartition(":")
    if own:
        return unknown(f"{what} factory", name, own, more=f"They are in {file!r}.")
    return InputError(f"{what} file {file!r} has no factory {name!r}: it defines no function")


def _one_line(error: BaseException) -> str:
    """Return the type and the message of an error, on one line of bounded length."""
    message = " ".join(str(error).split())
    if len(message) > 300:
        message = message[:300] + "…"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
