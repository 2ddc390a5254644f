from __future__ import annotations

import doctest
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import wfpipe

ROOT = Path(wfpipe.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BASES = {"lightning_callback": "lightning", "trainer_callback": "transformers"}
"""Modules that stand on a class of a library that need not be installed."""
MODULES = sorted(
    f"{package}.{path.stem}"
    for package in PROJECT["tool"]["setuptools"]["packages"]
    for path in ROOT.joinpath(*package.split(".")[1:]).glob("*.py")
    if path.stem not in ("__init__", "infer")
    and (path.stem not in BASES or find_spec(BASES[path.stem]) is not None)
)


def test_every_package_of_the_project_is_listed():
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/**/__init__.py")}
    outside = (".venv", "build", "dist", "runs")
    found = {".".join(["wfpipe", *f.parts]) for f in folders if f.parts[0] not in outside}
    assert found | {"wfpipe"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_the_version_is_stated_once_and_the_same():
    assert PROJECT["project"]["version"] == wfpipe.__version__


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    failed, _ = doctest.testmod(import_module(name))
    assert failed == 0


def test_unknown_names_are_no_attributes():
    with pytest.raises(AttributeError, match="no attribute 'prun'"):
        wfpipe.prun  # noqa: B018
