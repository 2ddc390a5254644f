"""``wfpipe sensitivity``, through the installed program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from wfpipe.tests.cli.program import wfpipe
from wfpipe.tests.cli.test_bad_input import check, files_in, write

QUICK = ["sensitivity", "--set", "prune.gradients=8", "--set", "prune.exclude=[]"]
LAYERS = ["conv1.weight", "conv2.weight", "conv3.weight", "fc.weight"]
TEXT = "{http://www.w3.org/2000/svg}text"


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory):
    """The output of the command, and the folder with its files."""
    folder = tmp_path_factory.mktemp("sensitivity")
    files = ["--json", "out/s.json", "--svg", "s.svg"]
    result = wfpipe(*QUICK, "--sparsities", "0.9,0.5", *files, folder=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout, folder


def test_the_table_has_a_row_for_each_layer_and_a_column_for_each_sparsity(figures):
    lines = [line.split() for line in figures[0].splitlines()]
    header = next(line for line in lines if line[:1] == ["layer"])
    assert " ".join(header) == "layer shape weights 50 % 90 %"
    rows = {line[0]: line for line in lines if line and line[0] in LAYERS}
    assert list(rows) == LAYERS
    assert " ".join(rows["conv2.weight"][1:9]) == "64 × 32 × 3 × 3 18,432"
    assert all(float(figure) > 0 for row in rows.values() for figure in row[-2:])


def test_one_sentence_says_which_layers_are_most_and_least_sensitive(figures):
    last = figures[0].splitlines()[-1]
    points = {
        layer["name"]: layer["points"][1]["predicted_loss_increase"]
        for layer in json.loads((figures[1] / "out/s.json").read_text())["layers"]
    }
    ranked = sorted(points, key=points.__getitem__)
    assert last.startswith("at 90 % sparsity of one layer, the most sensitive")
    most, least = last.split("; the least sensitive")
    assert most.index(ranked[3]) < most.index(ranked[2])
    assert least.index(ranked[0]) < least.index(ranked[1])


def test_the_json_has_the_keys_that_the_manual_lists(figures):
    found = json.loads((figures[1] / "out/s.json").read_text())
    layers = found.pop("layers")
    assert len(found.pop("recipe_digest")) == 64
    assert found == {
        "schema": "wfpipe-sensitivity/1", "model": "digits-cnn", "data": "digits",
        "criterion": "woodfisher", "update": "none", "pattern": "unstructured", "gradients": 8,
        "fisher_batch": 8, "fisher_labels": "model", "seed": 0, "unit": "nats",
    }  # fmt: skip
    assert [layer["name"] for layer in layers] == LAYERS
    assert layers[1]["shape"] == [64, 32, 3, 3]
    assert layers[1]["weights"] == 18432
    assert layers[1]["problem"] is None
    assert [point["sparsity"] for point in layers[1]["points"]] == [0.5, 0.9]
    assert [point["pruned"] for point in layers[1]["points"]] == [9216, 16589]


def test_the_plot_names_layers_and_units(figures):
    root = ElementTree.parse(figures[1] / "s.svg").getroot()
    texts = ["".join(element.itertext()).strip() for element in root.iter(TEXT)]
    assert set(LAYERS) <= set(texts)
    assert any("nats" in text for text in texts)
    assert any(text.startswith("digits-cnn on digits: woodfisher") for text in texts)


def test_the_same_input_gives_the_same_bytes_and_replaces_files_only_when_told(figures):
    before = files_in(figures[1])
    arguments = [*QUICK, "--sparsities", "0.5,0.9", "--json", "out/s.json", "--svg", "s.svg"]
    check(wfpipe(*arguments, folder=figures[1]), ["out/s.json", "already exists", "--overwrite"])
    result = wfpipe(*arguments, "--overwrite", folder=figures[1])
    assert result.returncode == 0, result.stderr
    assert files_in(figures[1]) == before


@pytest.mark.parametrize("criterion", ["woodtaylor", "mfac", "kfac", "diag-fisher"])
def test_every_criterion_that_predicts_a_loss_can_be_asked(criterion, tmp_path):
    file = tmp_path / "s.json"
    result = wfpipe(
        *QUICK, "--criterion", criterion, "--json", file, "--sparsities", "0.5,0.9",
        "--pattern", "block:2:in", "-q",
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for layer in json.loads(file.read_text())["layers"]:
        assert [point["sparsity"] for point in layer["points"]] == [0.5, 0.9]
        assert all(point["predicted_loss_increase"] != 0 for point in layer["points"])


def test_n_m_patterns_end_where_they_do(tmp_path):
    result = wfpipe(*QUICK, "--pattern", "2:4", "--json", tmp_path / "s.json")
    assert result.returncode == 0, result.stderr
    layers = json.loads((tmp_path / "s.json").read_text())["layers"]
    assert [layer["name"] for layer in layers] == LAYERS[1:]
    assert all(layer["points"][-1]["sparsity"] == 0.5 for layer in layers)
    assert all(2 * layer["points"][-1]["pruned"] == layer["weights"] for layer in layers)


def test_layers_without_gradients_are_named_and_the_others_shown(tmp_path):
    write(
        tmp_path / "net.py",
        b"""import torch.nn as nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.dead, self.b = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10)
    def forward(self, x):
        x = self.a(x.flatten(1))
        return self.b(x + 0 * self.dead(x))
build = Net
""",
    )
    result = wfpipe(
        *QUICK, "--model", "net.py:build", "--weights", "random", "--json", "s.json",
        folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "no curve for dead.weight: every gradient is zero" in result.stderr
    found = {
        layer["name"]: layer for layer in json.loads((tmp_path / "s.json").read_text())["layers"]
    }
    assert found["dead.weight"]["points"] == []
    assert "every gradient is zero" in found["dead.weight"]["problem"]
    assert len(found["a.weight"]["points"]) == 11


CASES: dict[str, tuple[Callable[[Path], list[object]], list[str]]] = {
    "sparsities that are no numbers": (
        lambda _: ["--sparsities", "0.5;0.9"],
        ["--sparsities", "'0.5;0.9'"],
    ),
    "no sparsities": (lambda _: ["--sparsities", ""], ["--sparsities", "it is empty"]),
    "sparsity of 1": (lambda _: ["--sparsities", "0.5,1"], ["> 0 and < 1", "got 1"]),
    "sparsity that is no number": (lambda _: ["--sparsities", "nan"], ["> 0 and < 1", "nan"]),
    "more than the pattern gives": (
        lambda _: ["--pattern", "2:4", "--sparsities", "0.6"],
        ["2:4", "at most 0.5", "0.6"],
    ),
    "criterion magnitude": (
        lambda _: ["--criterion", "magnitude"],
        ["magnitude", "no loss in nats", "woodfisher"],
    ),
    "criterion random": (lambda _: ["--criterion", "random"], ["random", "no loss in nats"]),
    "JSON that is there": (
        lambda p: ["--json", write(p / "s.json", b"mine")],
        ["s.json", "already exists", "--overwrite"],
    ),
    "SVG that is there": (
        lambda p: ["--json", p / "s.json", "--svg", write(p / "s.svg", b"mine")],
        ["s.svg", "already exists", "--overwrite"],
    ),
    "a folder for a file": (lambda p: ["--svg", p, "--overwrite"], ["--svg", "is a folder"]),
    "a file below a file": (lambda p: ["--svg", write(p / "x", b"") / "s.svg"], ["cannot write"]),
    "both in one file": (
        lambda p: ["--json", p / "s", "--svg", p / "." / "s"],
        ["the same file"],
    ),
    "no permission": (lambda _: ["--json", "/sys/s.json"], ["cannot write", "/sys/s.json"]),
    "unknown model": (lambda _: ["--model", "resnet-20"], ["'resnet20'"]),
    "every gradient zero": (
        lambda p: [
            "--model", dead_network(p), "--weights", "random", "--json", p / "s.json",
        ],
        ["every gradient is zero"],
    ),
}  # fmt: skip


def dead_network(folder: Path) -> str:
    write(
        folder / "net.py",
        b"""import torch.nn as nn
class Net(nn.Sequential):
    def forward(self, x):
        return 0 * super().forward(x)
def build():
    return Net(nn.Flatten(), nn.Linear(64, 10))
""",
    )
    return f"{folder / 'net.py'}:build"


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_leaves_nothing(name, tmp_path):
    build, words = CASES[name]
    arguments = build(tmp_path)
    before = files_in(tmp_path)
    check(wfpipe(*QUICK, *arguments, folder=tmp_path), words)
    assert files_in(tmp_path) == before
