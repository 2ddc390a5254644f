"""What the files beside a model of Hugging Face say, read without its library.

tests/hugging_face has whole jobs with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from wfpipe.models.hugging_face import (
    build_from_hub,
    class_names_of,
    from_image_processor,
    has_tokenizer,
    preparation_of,
    task_of,
)
from wfpipe.pipeline.recipe.published import published_layer
from wfpipe.support.errors import InputError

BERT = {"architectures": ["BertForSequenceClassification"]}
PROCESSOR = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}


def saved(folder: Path, config: dict[str, Any], **files: Any) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return f"hf:{folder}"


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (BERT, "classification"),
        ({**BERT, "id2label": {"0": "score"}}, "regression"),
        ({**BERT, "problem_type": "multi_label_classification"}, "multilabel"),
        ({**BERT, "problem_type": "regression"}, "regression"),
        ({"architectures": ["BertForTokenClassification"]}, "classification"),
        ({"architectures": ["GPT2LMHeadModel"]}, "next-token"),
        ({"architectures": ["LlamaForCausalLM"]}, "next-token"),
        ({"architectures": ["SegformerForSemanticSegmentation"]}, "segmentation"),
    ],
)
def test_task_is_that_of_the_architecture(
    tmp_path: Path, config: dict[str, Any], task: str
) -> None:
    assert task_of(saved(tmp_path, config)) == task


@pytest.mark.parametrize(
    ("processor", "found"),
    [
        (
            {**PROCESSOR, "size": {"shortest_edge": 256}, "do_center_crop": True, "resample": 3,
             "crop_size": {"height": 224, "width": 224}},
            {"size": [256], "crop": [224, 224], "interpolation": "bicubic"},
        ),
        ({**PROCESSOR, "size": {"height": 64, "width": 48}, "resample": 2},
         {"size": [64, 48], "interpolation": "bilinear"}),
        ({**PROCESSOR, "size": 32}, {"size": [32, 32], "interpolation": "bilinear"}),
        ({**PROCESSOR, "size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3},
         {"size": [256], "crop": [224, 224], "interpolation": "bicubic"}),
        ({**PROCESSOR, "size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3},
         {"size": [384, 384], "interpolation": "bicubic"}),
        ({**PROCESSOR, "size": {"shortest_edge": 256}}, {}),
        ({**PROCESSOR, "size": {"longest_edge": 512}}, {}),
        ({**PROCESSOR, "do_resize": False, "size": 32}, {}),
    ],
)  # fmt: skip
def test_preparation_is_that_of_the_image_processor(
    processor: dict[str, Any], found: dict[str, Any]
) -> None:
    assert from_image_processor(processor) == {"mean": [0.5] * 3, "std": [0.25] * 3, **found}


def test_values_are_those_of_the_image_processor_whatever_its_factor() -> None:
    pixel = 200.0
    for changes in ({"rescale_factor": 1 / 127.5}, {"do_rescale": False}, {"do_normalize": False,
                    "rescale_factor": 1 / 127.5}, {}):  # fmt: skip
        processor: dict[str, Any] = {**PROCESSOR, "do_resize": False, **changes}
        factor = processor.get("rescale_factor", 1 / 255) if "do_rescale" not in changes else 1.0
        wanted = pixel * factor
        if "do_normalize" not in changes:
            wanted = (wanted - 0.5) / 0.25
        found = from_image_processor(processor)
        assert (pixel / 255 - found["mean"][0]) / found["std"][0] == pytest.approx(wanted)
    with pytest.raises(InputError, match="says do_flip_channel_order, which is not done here"):
        from_image_processor({"do_flip_channel_order": True})


@pytest.mark.parametrize(
    "damage",
    [{"image_mean": 0.5, "rescale_factor": 1.0}, {"rescale_factor": 0, "do_normalize": False},
     {"size": {"shortest_edge": 224}, "crop_pct": None}, {"size": 8, "resample": []}],
)  # fmt: skip
def test_values_that_no_image_processor_has_are_refused_in_a_line(
    tmp_path: Path, damage: dict[str, Any]
) -> None:
    name = saved(tmp_path, BERT, preprocessor_config={**PROCESSOR, **damage})
    with pytest.raises(
        InputError, match=r"preprocessor_config.json of model .* no image processor"
    ):
        preparation_of(name)


def test_a_model_brings_task_preparation_and_tokenizer_where_the_recipe_says_nothing(
    tmp_path: Path,
) -> None:
    config = {**BERT, "problem_type": "regression"}
    name = saved(tmp_path, config, preprocessor_config=PROCESSOR, tokenizer={})
    assert has_tokenizer(name)
    model = {"model": {"name": name}}
    layer, said = published_layer({**model, "data": {"source": "hf:reviews", "mean": 0.1}})
    assert layer == {
        "task": {"kind": "regression"}, "data": {"tokenizer": name, "std": [0.25] * 3},
    }  # fmt: skip
    assert said is not None
    assert "task.kind=regression, data.tokenizer=hf:" in said
    own = {"task": {"kind": "classification"}, "data": {"source": "data.py:build"}}
    assert published_layer({**model, **own}) == ({}, None)


def test_classes_are_in_the_order_of_the_scores(tmp_path: Path) -> None:
    labels = {"10": "c", "2": "b", "0": "a"}
    assert class_names_of(saved(tmp_path, {**BERT, "id2label": labels})) == ["a", "b", "c"]
    assert class_names_of(saved(tmp_path, BERT)) == []


def test_what_is_no_model_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"holds no config.json"):
        task_of(f"hf:{tmp_path}")
    name = saved(tmp_path, {"architectures": ["BertForQuestionAnswering"]}, preprocessor_config=[1])
    with pytest.raises(InputError, match=r"BertForQuestionAnswering: taken are those that end"):
        task_of(name)
    with pytest.raises(InputError, match="must hold a JSON object"):
        preparation_of(name)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is no JSON"):
        task_of(name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r'pip install "wfpipe\[hf\]"'):
        build_from_hub(saved(tmp_path, BERT), pretrained=True)
