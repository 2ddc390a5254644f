"""Platforms whose sparse kernels a package is to hold: refused early, packed at the end."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from wfpipe.exporters.documents.report import Report, VariantFigures, read_report
from wfpipe.exporters.measuring import kernels_library
from wfpipe.exporters.measuring.kernels_library import library_path, why_missing
from wfpipe.exporters.measuring.platforms import PLATFORMS, platform_name
from wfpipe.exporters.measuring.sizes import deflated_bytes, nonzeros
from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.exporters.runtime.rewrite import rewrite
from wfpipe.exporters.runtime.units import find_units
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.pipeline.stages.run import package_run, prune_and_export
from wfpipe.support.errors import InputError
from wfpipe.support.files import write_json
from wfpipe.support.progress import Silent

OTHER = next(name for name in PLATFORMS if name != platform_name())
QUICK = {
    "finetune": {"epochs": 0},
    "prune": {"criterion": "magnitude", "update": "none"},
    "validate": {"runs": 100, "threads": 1, "batches": [1]},
}


def test_kernels_that_are_not_installed_are_refused_before_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels_library, "LIBRARIES", tmp_path)
    recipe = Recipe.model_validate(QUICK)
    wanted = {"variants": ["sparse-cpu"], "targets": [OTHER]}
    recipe = recipe.model_copy(update={"export": recipe.export.model_copy(update=wanted)})
    with pytest.raises(InputError, match=f"sparse kernels for {OTHER} are not installed: .* Build"):
        prune_and_export(recipe, RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    directory = RunDirectory(tmp_path_factory.mktemp("run") / "demo")
    prune_and_export(Recipe.model_validate(QUICK), directory)
    return directory


def test_platforms_are_refused_for_a_form_without_kernels(finished: RunDirectory) -> None:
    before = finished.package.read_bytes()
    if library_path() is not None:
        with pytest.raises(InputError, match=r"the form 'sparse-cpu', and .* ships 'plain'"):
            package_run(finished, Silent(), targets=[platform_name()])
    with pytest.raises(InputError, match="there are no sparse kernels for linux-s390x"):
        package_run(finished, Silent(), targets=["linux-s390x"])
    assert finished.package.read_bytes() == before


def on_kernels(run: RunDirectory) -> Report:
    """Write the form that runs on kernels, and return the report in which it ships."""
    plain = onnx.load(run.model)
    units = find_units(plain)
    path = run.path / "model.sparse-cpu.onnx"
    onnx.save(rewrite(plain, units, [unit.name for unit in units]), path)
    report = read_report(run.report)
    sizes = {
        "file_bytes": path.stat().st_size,
        "deflated_bytes": deflated_bytes(path),
        "nonzeros": nonzeros(path),
    }
    form = VariantFigures(file=path.name, figures=report.pruned.model_copy(update=sizes))
    changes = {"variants": {"sparse-cpu": form}, "pick": "smallest", "picked": "sparse-cpu"}
    return report.model_copy(update=changes)


@pytest.mark.skipif(library_path() is None, reason=why_missing())
def test_a_form_on_kernels_ships_with_those_of_its_platforms(finished: RunDirectory) -> None:
    write_json(finished.report, on_kernels(finished).to_json())
    finished.variants["sparse-cpu"] = finished.path / "model.sparse-cpu.onnx"
    package_run(finished, Silent())
    result = verify_package(finished.package)
    assert result.manifest.variant == "sparse-cpu"
    assert list(result.manifest.libraries) == [platform_name()]
    assert result.kernels is not None
