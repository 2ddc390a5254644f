"""The jobs that the documentation shows, followed to the letter in a clean environment.

Installing wfpipe takes minutes and is left out here; ``run_in_clean_environment.sh`` does it too.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from junitparser import Failure, JUnitXml, TestSuite

from wfpipe.exporters.measuring.sizes import deflated_bytes
from wfpipe.exporters.onnx.zeros import layer_figures
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.pipeline.recipe.reading import parse_assignment, resolve
from wfpipe.tests.ci.jobs import Job, documented, page, run_github_job, run_gitlab_job
from wfpipe.tests.ci.workspace import BAD, GOOD, write_dense, write_images, write_pruned
from wfpipe.tests.cli.program import PROGRAM
from wfpipe.tests.cli.stand_in import stand_in
from wfpipe.tests.exporters.package_samples import make_report, model_figures

REPOSITORY = Path(__file__).parents[2]
RUN = {"github": run_github_job, "gitlab": run_gitlab_job}
NUMBERS = {
    "max_accuracy_drop": "wanted at most 1.00 points, got",
    "baseline_accuracy_drop": "points (accuracy was 98.50 %, is",
}


def installs(script: str) -> bool:
    return script.startswith("python -m pip install ")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of a user, with a model that passes and the report of an older one."""
    root = tmp_path_factory.mktemp("user")
    write_dense(root / "dense.onnx")
    write_pruned(root / "model.onnx", root / "dense.onnx", GOOD)
    write_images(root / "data")
    (root / "ci.yaml").write_text(yaml.safe_dump(documented(REPOSITORY, "ci.yaml")))
    older = model_figures(accuracy=98.5, deflated_bytes=deflated_bytes(root / "model.onnx"))
    accepted = make_report(
        pruned=older, test_samples=359, layers=layer_figures(root / "model.onnx"), gates=[]
    )
    slow = accepted.speedup["1"].model_copy(update={"ratio": 0.5})
    write_report(root / "accepted", accepted.model_copy(update={"speedup": {"1": slow}}))
    return root


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    with stand_in() as path:
        yield path


def run_job(system: str, repository: Path, folder: Path, sparsity: float, program: Path) -> Job:
    workspace = folder / "workspace"
    shutil.copytree(repository, workspace)
    if sparsity != GOOD:
        write_pruned(workspace / "model.onnx", workspace / "dense.onnx", sparsity)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "wfpipe").symlink_to(program)
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(folder),
        "GITHUB_STEP_SUMMARY": str(folder / "page.md"),
    }
    return RUN[system](Job(REPOSITORY, workspace, environment, leave_out=installs))


def read_suite(workspace: Path) -> TestSuite:
    (suite,) = JUnitXml.fromfile(str(workspace / "figures" / "junit.xml"))
    assert isinstance(suite, TestSuite)
    return suite


@pytest.mark.parametrize("system", RUN)
def test_a_good_model_passes(system: str, repository: Path, program: Path, tmp_path: Path) -> None:
    """On one system by the program as it is installed."""
    job = run_job(system, repository, tmp_path, GOOD, PROGRAM if system == "github" else program)
    assert job.code == 0, job.log
    assert len(job.left_out) == 1
    suite = read_suite(job.workspace)
    assert suite.tests >= 5
    assert (suite.failures, suite.errors) == (0, 0)
    assert all(case.is_passed for case in suite)
    assert (job.workspace / "figures" / "report.json").is_file()
    if system == "github":
        assert job.outputs["exit-code"] == "0"
        assert (job.workspace / job.outputs["report"]).is_file()


@pytest.mark.parametrize("system", RUN)
def test_a_bad_model_fails_with_3_and_both_numbers(
    system: str, repository: Path, program: Path, tmp_path: Path
) -> None:
    job = run_job(system, repository, tmp_path, BAD, program)
    assert job.code == 3, job.log
    suite = read_suite(job.workspace)
    failed = {case.name: case.result[0] for case in suite if not case.is_passed}
    assert set(failed) == set(NUMBERS)
    assert suite.failures == len(failed)
    for name, words in NUMBERS.items():
        assert isinstance(failed[name], Failure)
        assert words in failed[name].message
    for summary in (job.workspace / "figures" / "summary.md", tmp_path / "page.md"):
        assert "**failed 2 of" in summary.read_text()
    if system == "github":
        assert job.outputs == {
            "junit": "figures/junit.xml",
            "markdown": "figures/summary.md",
            "report": "figures/report.json",
            "exit-code": "3",
        }
        assert [name.partition("@")[0] for name in job.used] == [
            "actions/checkout",
            "actions/setup-python",
            "actions/upload-artifact",
        ]


def test_the_action_uses_no_other_action_and_its_inputs_are_documented() -> None:
    action = yaml.safe_load((REPOSITORY / "action.yml").read_text())
    assert all("run" in step and "uses" not in step for step in action["runs"]["steps"])
    for name in (*action["inputs"], *action["outputs"]):
        assert f"`{name}`" in page(REPOSITORY)


def test_the_job_in_the_readme_gives_the_action_what_it_takes() -> None:
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.M | re.S
    )
    (step,) = (
        s for s in yaml.safe_load(block)["jobs"]["model"]["steps"] if s["uses"] == "./wfpipe"
    )
    inputs = yaml.safe_load((REPOSITORY / "action.yml").read_text())["inputs"]
    required = {name for name, what in inputs.items() if what.get("required")}
    assert required <= set(step["with"]) <= set(inputs)
    for line in step["with"]["gates"].splitlines():
        resolve(parse_assignment(f"gates.{line}"))
