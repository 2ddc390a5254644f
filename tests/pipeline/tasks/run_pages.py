"""Runs the commands of the pages of tasks whole: the job, the check of its package, and the replay
by the package's own program.

    python tests/pipeline/tasks/run_pages.py [PAGE ...]

Commands whose models or data are not made on the page are left out; minutes on one core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from wfpipe.exporters.reading.archive import unpack_archive
from wfpipe.pipeline.recipe.task import TASKS
from wfpipe.tests.pipeline.tasks.test_pages import PAGES, prepared

ELSEWHERE = ("hf:", "torchvision:", "timm:")
DETECTOR = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 32), nn.Linear(32, 20)

    def forward(self, x):
        score, box = self.head(self.body(x).relu()).view(-1, 4, 5).split([1, 4], dim=2)
        return {"score": score[..., 0], "box": box}

build = Detector
torch.manual_seed(0)
torch.save(Detector().state_dict(), "detector.pth")

def data():
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    targets = {"score": (x[:, :4] > 0).float(), "box": x[:, None, :4].expand(-1, 4, -1)}
    rows = [(x[i], {name: value[i] for name, value in targets.items()}) for i in range(96)]
    return rows[:64], rows[64:]
"""


def run(*arguments: str | Path) -> str:
    """Run the Python of this program, and return its last line; end where it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: exit code {done.returncode}: {done.stderr}")
    return done.stdout.strip().rpartition("\n")[2]


def main() -> None:
    for page in sys.argv[1:] or [*TASKS, "own"]:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            if page == "own":
                code = (PAGES / "own.md").read_text().split("```python\n")[1].split("```")[0]
                Path("boxes.py").write_text(code)
                Path("detector.py").write_text(DETECTOR)
                run("detector.py")
            for arguments in prepared(page, Path(folder)):
                model, data = (arguments[arguments.index(f) + 1] for f in ("--model", "--data"))
                if model.startswith(ELSEWHERE) or data.startswith((*ELSEWHERE, "./")):
                    continue
                out = Path(arguments[arguments.index("--out") + 1])
                run("-m", "wfpipe", "prune-and-export", *arguments)
                run("-m", "wfpipe", "verify", out / "package.zip")
                unpack_archive(out / "package.zip", Path("unpacked"))
                print(f"{page}: {run('unpacked/infer.py', '--self-test')}", flush=True)
            os.chdir(PAGES)


if __name__ == "__main__":
    main()
