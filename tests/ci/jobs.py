"""Runs the jobs that the documentation shows, as their CI systems would; also a program.

    python jobs.py REPOSITORY github|gitlab WORKSPACE
    python jobs.py REPOSITORY show FILE

The first runs every shell step in the environment that it is called with, and exits with the job's
code; the second prints a file that the documentation shows.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SHELL = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"]
"""How GitHub runs a step whose shell is bash."""
_EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")


@dataclass
class Job:
    """A job under way: where it runs, the environment of its steps, and what came out."""

    repository: Path
    workspace: Path
    environment: Mapping[str, str]
    leave_out: Callable[[str], bool] = lambda script: False
    code: int = 0
    log: str = ""
    left_out: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def shell(self, script: str, variables: Mapping[str, str], command: list[str]) -> None:
        """Run a script in the workspace, unless it is left out; keep its code and output."""
        if self.leave_out(script):
            self.left_out.append(script)
            return
        ended = subprocess.run(
            [*command, "-c", script],
            cwd=self.workspace,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.log += ended.stdout
        self.code = self.code or ended.returncode


def documented(repository: Path, name: str) -> Any:
    """Return the content of the YAML file that docs/ci.md shows under this name."""
    (block,) = re.findall(
        rf"^```yaml\n# {re.escape(name)}\n(.*?)^```", page(repository), re.M | re.S
    )
    return yaml.safe_load(block)


def page(repository: Path) -> str:
    """Return the page that shows the jobs."""
    return (repository / "docs" / "ci.md").read_text(encoding="utf-8")


def run_github_job(job: Job) -> Job:
    """Run the steps of the GitHub job; actions of others (checkout, Python, upload) do nothing."""
    (steps,) = (
        each["steps"]
        for each in documented(job.repository, ".github/workflows/model.yml")["jobs"].values()
    )
    for step in steps:
        if job.code and step.get("if") != "always()":
            continue
        if step.get("uses", "").startswith("./"):
            _run_action(job, step["with"])
        elif "uses" in step:
            job.used.append(step["uses"])
        else:
            job.shell(step["run"], {}, ["bash", "-e"])
    return job


def _run_action(job: Job, given: Mapping[str, Any]) -> None:
    """Run the steps of action.yml with these inputs."""
    action = yaml.safe_load((job.repository / "action.yml").read_text(encoding="utf-8"))
    unknown = set(given) - set(action["inputs"])
    assert not unknown, f"action.yml has no inputs {unknown}"
    context = {"github.action_path": str(job.repository)}
    for name, what in action["inputs"].items():
        assert name in given or not what.get("required"), f"the job gives no {name}"
        context[f"inputs.{name}"] = str(given.get(name, what.get("default", "")))
    for step in action["runs"]["steps"]:
        if job.code == 0:
            _run_action_step(job, step, context)
    job.outputs = {
        name: _expand(output["value"], context) for name, output in action["outputs"].items()
    }


def _run_action_step(job: Job, step: Mapping[str, Any], context: dict[str, str]) -> None:
    assert step["shell"] == "bash"
    assert "${{" not in step["run"], "an input in a script could be run as code"
    written = job.workspace / ".github_output"
    written.write_text("")
    variables = {name: _expand(value, context) for name, value in step.get("env", {}).items()}
    job.shell(step["run"], {**variables, "GITHUB_OUTPUT": str(written)}, SHELL)
    for line in written.read_text().splitlines():
        name, _, value = line.partition("=")
        context[f"steps.{step['id']}.outputs.{name}"] = value


def _expand(text: str, context: Mapping[str, str]) -> str:
    return _EXPRESSION.sub(lambda found: context[found[1]], text)


def run_gitlab_job(job: Job) -> Job:
    """Run the lines of the GitLab job's script, each of which must succeed for the next to run."""
    (content,) = documented(job.repository, ".gitlab-ci.yml").values()
    for line in content["script"]:
        if job.code == 0:
            job.shell(line, content.get("variables", {}), ["bash", "-e", "-o", "pipefail"])
    return job


if __name__ == "__main__":
    import os

    if sys.argv[2] == "show":
        print(yaml.safe_dump(documented(Path(sys.argv[1]), sys.argv[3])))
        sys.exit(0)
    run = {"github": run_github_job, "gitlab": run_gitlab_job}[sys.argv[2]]
    ended = run(Job(Path(sys.argv[1]).resolve(), Path(sys.argv[3]).resolve(), os.environ))
    print(ended.log, end="")
    sys.exit(ended.code)
