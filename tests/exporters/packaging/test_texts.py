"""Packages whose model takes text: the tokenizer is in them, and ``infer.py`` uses it.

A stand-in for the library ``tokenizers`` makes a token of each word here; tests/hugging_face has
the real one.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.documents.manifest import TextInputs
from wfpipe.exporters.packaging import infer
from wfpipe.exporters.packaging.package import PackableText, write_package
from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.exporters.reading.archive import read_archive, unpack_archive, write_archive
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.exporters.package_samples import manifest_of, repacked, write_model

TOKENS = 4
STAND_IN = """
import json
from pathlib import Path

class Tokenizer:
    @staticmethod
    def from_file(path):
        made = Tokenizer()
        made.words = json.loads(Path(path).read_text())["words"]
        return made

    def encode(self, text, pair=None, is_pretokenized=False):
        words = text if is_pretokenized else text.split()
        self.ids = [self.words.index(word) + 1 for word in words][:4]
        self.attention_mask = [1] * len(self.ids) + [0] * (4 - len(self.ids))
        self.ids += [0] * (4 - len(self.ids))
        return self
"""


def made_of(texts: list[str]) -> dict[str, Any]:
    words = [[("a", "good", "bad", "film").index(word) + 1 for word in t.split()] for t in texts]
    ids = np.array([(row + [0] * TOKENS)[:TOKENS] for row in words], np.int64)
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}


def how(**changes: Any) -> TextInputs:
    values: dict[str, Any] = {
        "columns": {"text": "sentence"}, "words": False, "tokens": TOKENS, "tokenizers": "0.23",
        "inputs": {"input_ids": "ids", "attention_mask": "attention_mask"},
    }  # fmt: skip
    return TextInputs(**{**values, **changes})


def packed(folder: Path, text: TextInputs | None = None) -> Path:
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["seen"]),
        helper.make_node("Cast", ["seen"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["floats", "weight"], ["logits"]),
    ]
    ids, mask = (
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", TOKENS])
        for name in ("input_ids", "attention_mask")
    )
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    weight = numpy_helper.from_array(np.eye(TOKENS, 2, dtype=np.float32), "weight")
    graph = helper.make_graph(nodes, "text", [ids, mask], [logits], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    texts = ["a good film", "a bad film"]
    write_package(
        folder / "package.zip", model=write_model(folder / "m.onnx", model), report=None,
        golden_inputs=made_of(texts),
        text=PackableText(
            text or how(), json.dumps({"words": ["a", "good", "bad", "film"]}).encode(),
            tuple({"sentence": text} for text in texts),
        ),
    )  # fmt: skip
    return folder / "package.zip"


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run infer.py of a package, as if it lay beside it, with or without the library."""
    unpack_archive(packed(tmp_path), tmp_path / "unpacked")
    monkeypatch.setattr(infer, "HERE", tmp_path / "unpacked")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, library: str | None = STAND_IN) -> tuple[int, str, str]:
        module = None if library is None else ModuleType("tokenizers")
        if library is not None:
            exec(library, vars(module))
        monkeypatch.setitem(sys.modules, "tokenizers", module)
        monkeypatch.setattr(sys, "argv", ["infer.py", *arguments])
        with warnings.catch_warnings():
            code = infer.main()
        return code, *capsys.readouterr()

    return run


def test_a_package_has_the_tokenizer_and_the_golden_texts_under_its_digests(tmp_path: Path) -> None:
    package = packed(tmp_path)
    members = read_archive(package)
    manifest = manifest_of(members)
    assert {"tokenizer.json", "texts.py", "golden/texts.json"} <= manifest.files.keys()
    assert manifest.text == how()
    assert json.loads(members["golden/texts.json"])[1] == {"sentence": "a bad film"}
    assert "text to 4 tokens by `tokenizer.json`" in members["MODEL_CARD.md"].decode()
    assert verify_package(package).golden_samples == 2
    write_archive(package, {**members, "tokenizer.json": b'{"words": []}'})
    with pytest.raises(CheckFailed, match=r"'tokenizer.json' was changed"):
        verify_package(package)
    del members["tokenizer.json"]
    write_archive(package, repacked(members))
    with pytest.raises(InputError, match=r"text needs the file tokenizer.json"):
        verify_package(package)


def test_texts_give_what_their_tokens_give(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.txt").write_text("\ufeffa bad\u2028film\n\ngood\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(json.dumps({"sentence": "good", "id": 3}))
    np.savez(tmp_path / "a.npz", **made_of(["a bad film", "good"]))
    code, said, problem = call("--json", "a.txt", "a.jsonl", "a.npz")
    assert (code, problem) == (0, "")
    results = json.loads(said)
    assert [each["input"] for each in results] == [
        "a.txt:1", "a.txt:3", "a.jsonl:1", "a.npz[0]", "a.npz[1]",
    ]  # fmt: skip
    first, second, third, *wanted = (each["classes"] for each in results)
    assert [first, second, third] == [wanted[0], wanted[1], wanted[1]]


def test_the_self_test_compares_the_tokens_of_golden_texts(call: Call) -> None:
    code, said, _ = call("--self-test")
    assert code == 0
    assert said.endswith("; 2 golden texts give the same tokens\n")
    code, said, _ = call("--self-test", library=None)
    assert code == 0
    assert said.endswith("its texts were not tried: tokenizers is not installed\n")
    code, _, problem = call("--self-test", library=STAND_IN.replace("+ 1", "+ 2"))
    assert code == 3
    assert "golden text 0 has other input_ids than where it was packed" in problem


def test_what_stands_in_the_way_of_text_is_said_in_a_line(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.txt").write_text("good")
    (tmp_path / "a.jsonl").write_text('{"text": "good"}')
    (tmp_path / "b.jsonl").write_text('{"sentence": ["good"]}')

    def refused(*arguments: str, library: str | None = STAND_IN) -> str:
        code, said, problem = call(*arguments, library=library)
        assert (code, said, problem.count("\n")) == (2, "", 1)
        return problem

    assert "pip install tokenizers" in refused("a.txt", library=None)
    assert "a.jsonl:1 must be an object with sentence" in refused("a.jsonl")
    assert "b.jsonl:1 must hold text" in refused("b.jsonl")
    (tmp_path / "unpacked" / "texts.py").write_text("raise SystemExit('was run')")
    assert "texts.py is missing or changed: it is not loaded" in refused("a.txt")
    manifest = json.loads((tmp_path / "unpacked" / "manifest.json").read_text())
    del manifest["text"]
    (tmp_path / "unpacked" / "manifest.json").write_text(json.dumps(manifest))
    assert "holds text, and the package has no tokenizer" in refused("a.txt")


def test_words_and_numbers_beside_text_come_from_their_columns() -> None:
    from wfpipe.exporters.packaging.texts import inputs_of, parsed

    class Tokens:
        ids = (1, 2)

        def encode(self, *texts: Any, is_pretokenized: bool) -> Any:
            assert texts == (["a", "film"],)
            assert is_pretokenized
            return self

    said = how(columns={"text": "words", "size": "sizes"}, words=True, inputs={"input_ids": "ids"})
    specs = [{"name": "size", "dtype": "float32"}, {"name": "input_ids", "dtype": "int64"}]
    manifest: dict[str, Any] = {"text": said.model_dump(), "inputs": specs}
    row = parsed('{"words": ["a", "film"], "sizes": [0.5, 2]}', False, manifest["text"], "a")
    made = inputs_of(row, Tokens(), manifest, "a")
    assert made["size"].tolist() == [0.5, 2]
    assert made["input_ids"].tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"the model takes words, sizes: pass them in a \.jsonl"):
        parsed("a film", True, manifest["text"], "a")


def test_text_that_makes_other_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="and other inputs are made of text"):
        packed(tmp_path, how(inputs={"input_ids": "ids"}))
