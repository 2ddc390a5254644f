from __future__ import annotations

import json
from typing import Any

import pytest

from wfpipe.exporters.documents.manifest import Manifest, PackedFigures, parse_manifest
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report, preprocessing


def content(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "wfpipe-manifest/1",
        "files": {"model.onnx": {"sha256": "0" * 64, "bytes": 12}},
        "variant": "plain",
        "inputs": [{"name": "input", "dtype": "float32", "shape": ["batch", 1, None, 5]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 3]}],
        "preprocessing": preprocessing().model_dump(mode="json"),
        "class_names": ["cat", "dög"],
        "sparsity": 0.5,
        "recipe_digest": None,
        "figures": PackedFigures.of(make_report()).model_dump(mode="json"),
        "golden": {"samples": 4, "tolerance": 1e-4},
        "versions": {"wfpipe": "0.1.0", "opset": 20, "onnxruntime": "1.31.0"},
        **changes,
    }


def parse(**changes: Any) -> Manifest:
    return parse_manifest(json.dumps(content(**changes)).encode(), "package 'a.zip'")


def test_a_manifest_is_written_as_it_was_read() -> None:
    manifest = parse()
    assert json.loads(manifest.to_bytes()) == content()
    assert parse_manifest(manifest.to_bytes(), "package") == manifest


def test_a_manifest_is_text_for_people_too() -> None:
    text = parse().to_bytes().decode("utf-8")
    assert "dög" in text
    assert text.startswith('{\n  "schema"')
    assert text.endswith("}\n")


def test_what_a_model_does_not_say_is_null() -> None:
    manifest = parse(preprocessing=None, class_names=None, sparsity=None, figures=None)
    assert manifest.figures is None
    assert manifest.class_names is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "wfpipe-manifest/2"}, "must have the schema 'wfpipe-manifest/1'"),
        ({"files": {"a": {"sha256": "XYZ", "bytes": 1}}}, "files.a.sha256"),
        ({"files": {"a": {"sha256": "0" * 64, "bytes": -1}}}, "files.a.bytes"),
        ({"golden": {"samples": 0, "tolerance": 1e-4}}, "golden.samples"),
        ({"golden": {"samples": 10**6, "tolerance": 1e-4}}, "golden.samples"),
        ({"golden": {"samples": 4, "tolerance": 1.0}}, "golden.tolerance"),
        ({"golden": {"samples": 4, "tolerance": 0.0}}, "golden.tolerance"),
        ({"more": 1}, "more"),
        ({"inputs": None}, "inputs"),
    ],
)
def test_an_invalid_manifest_is_refused_in_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(**changes)
    assert str(caught.value).startswith("package 'a.zip': manifest.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
