"""Models and data of Hugging Face through the whole job, with the real libraries: a small BERT and
a small ViT, made from a configuration and saved as a user saves them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wfpipe import InputError, RunDirectory, load, prune_and_export
from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.models.hugging_face import build_from_hub, tokenizer_of
from wfpipe.pipeline.data.sources.hub_rows import HubRows, Words
from wfpipe.pipeline.recipe.published import published_layer
from wfpipe.pipeline.recipe.reading import Values, resolve
from wfpipe.tests.cli.program import environment

transformers = pytest.importorskip("transformers", reason="see run_in_clean_environment.sh")
datasets = pytest.importorskip("datasets", reason="see run_in_clean_environment.sh")

pytestmark = pytest.mark.filterwarnings("ignore")  # what these libraries warn of is theirs

WORDS = ["good", "bad", "film", "plot", "a", "the", "very", "is", "not"]


def bert(folder: Path) -> Path:
    """Save a small BERT for two classes with its tokenizer."""
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, num_labels=2,
    )  # fmt: skip
    transformers.set_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def vit(folder: Path) -> Path:
    """Save a small ViT for two classes with its image processor."""
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=16, patch_size=4, num_labels=2,
    )  # fmt: skip
    transformers.set_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor = {"do_normalize": True, "do_resize": True, "image_mean": [0.5, 0.4, 0.3],
                 "image_std": [0.25, 0.25, 0.5], "size": {"height": 16, "width": 16},
                 "resample": 3, "image_processor_type": "ViTImageProcessor"}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def reviews(folder: Path) -> Path:
    random = np.random.default_rng(0)
    splits = {}
    for part, count in (("train", 48), ("test", 32)):
        good = random.integers(0, 2, count)
        text = [" ".join([*random.choice(WORDS[2:], 3), WORDS[0] if g else WORDS[1]]) for g in good]
        rows = {"sentence": text, "id": list(range(count)), "stars": good.tolist()}
        splits[part] = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


def run_job(run: Path, model: Path, data: dict[str, Any]) -> str:
    """Do what the command does, and return the line about what the model brought."""
    values: Values = {
        "model": {"name": f"hf:{model}"}, "data": data, "finetune": {"epochs": 1},
        "prune": {"sparsity": 0.5, "gradients": 16}, "validate": {"batches": [1], "runs": 100},
    }  # fmt: skip
    layer, said = published_layer(values)
    report = prune_and_export(resolve(layer, values), RunDirectory(run))
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
    assert report.pruned.accuracy is not None
    return said or ""


def replayed(run: Path, folder: Path) -> dict[str, Any]:
    """Verify the package of a run, let its own program replay the golden samples, and return the
    manifest."""
    assert verify_package(run / "package.zip").golden_samples > 0
    with zipfile.ZipFile(run / "package.zip") as archive:
        archive.extractall(folder)
    done = subprocess.run(
        [sys.executable, "infer.py", "--self-test"], capture_output=True, text=True,
        cwd=folder, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "self-test passed" in done.stdout
    assert ("give the same tokens" in done.stdout) == (folder / "tokenizer.json").exists()
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def test_bert_and_texts_of_a_folder_go_through_the_job(tmp_path: Path) -> None:
    model, data = bert(tmp_path / "bert"), reviews(tmp_path / "reviews")
    columns = {"text": "sentence", "label": "stars"}
    said = run_job(tmp_path / "run", model, {"source": f"hf:{data}", "columns": columns,
                                             "tokens": 8})  # fmt: skip
    assert said.endswith(f": data.tokenizer=hf:{model}")
    manifest = replayed(tmp_path / "run", tmp_path / "unpacked")
    assert {each["name"] for each in manifest["inputs"]} == {
        "input_ids", "attention_mask", "token_type_ids",
    }  # fmt: skip
    assert manifest["class_names"] is None  # the model's are LABEL_0 and LABEL_1
    _texts_give_what_tokens_give(tmp_path / "unpacked", manifest)
    loaded = load(tmp_path / "run")
    assert type(loaded).__name__ == "BertForSequenceClassification"
    weight = loaded.get_parameter("bert.encoder.layer.0.output.dense.weight")
    kept = float((weight != 0).double().mean())
    assert kept < 0.9


def _texts_give_what_tokens_give(package: Path, manifest: dict[str, Any]) -> None:
    """Compare classes of the golden texts with those of the golden tokens."""
    rows = json.loads((package / "golden" / "texts.json").read_text())[
        : manifest["golden"]["samples"]
    ]
    (package / "golden.txt").write_text("\n".join(row["sentence"] for row in rows))
    names = ["inputs", *(f"inputs-{n}" for n in range(2, len(manifest["inputs"]) + 1))]
    tokens = {
        spec["name"]: np.load(package / "golden" / f"{name}.npy")
        for spec, name in zip(manifest["inputs"], names, strict=True)
    }
    np.savez(package / "golden.npz", **tokens)
    done = subprocess.run(
        [sys.executable, "infer.py", "--json", "golden.txt", "golden.npz"],
        capture_output=True, text=True, cwd=package, env=environment(), check=True,
    )  # fmt: skip
    results = [result["classes"] for result in json.loads(done.stdout)]
    assert results[: len(rows)] == results[len(rows) :]


def test_gpt2_learns_the_next_token_of_texts_without_labels(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<end>"]
    made.train_from_iterator([" ".join(WORDS)] * 9, trainers.BpeTrainer(special_tokens=special))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", eos_token="<end>"
    )
    tokenizer.save_pretrained(tmp_path / "gpt2")
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=16,
        bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    transformers.set_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    data = {"source": f"hf:{reviews(tmp_path / 'reviews')}", "columns": {"text": "sentence"},
            "tokens": 8}  # fmt: skip
    said = run_job(tmp_path / "run", tmp_path / "gpt2", data)
    assert "task.kind=next-token" in said
    manifest = replayed(tmp_path / "run", tmp_path / "unpacked")
    assert [each["name"] for each in manifest["outputs"]] == ["logits"]
    assert manifest["text"]["columns"] == {"text": "sentence"}
    weight = load(tmp_path / "run").get_parameter("transformer.h.0.mlp.c_fc.weight")
    assert float((weight != 0).double().mean()) < 0.9
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["pruned"]["metrics"]["perplexity"]["higher_is_better"] is False


def test_vit_takes_its_preparation_from_its_image_processor(tmp_path: Path) -> None:
    model = vit(tmp_path / "vit")
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for name, low in (("dark", 0), ("light", 120)):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(low, low + 120, (20, 24, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    said = run_job(tmp_path / "run", model, {"source": str(tmp_path / "photos")})
    assert "data.mean=0.5,0.4,0.3, data.std=0.25,0.25,0.5, data.size=16,16, " in said
    preparation = replayed(tmp_path / "run", tmp_path / "unpacked")["preprocessing"]
    assert preparation["mean"] == [0.5, 0.4, 0.3]
    assert (preparation["shape"], preparation["interpolation"]) == ([3, 16, 16], "bicubic")


def test_models_that_cannot_be_taken_are_refused_in_a_line(tmp_path: Path) -> None:
    model = bert(tmp_path / "bert")
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"safetensors"):
        build_from_hub(f"hf:{model}", pretrained=True)
    (model / "model.safetensors").write_bytes(weights)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "num_labels": 3, "id2label": None}))
    with pytest.raises(InputError, match=r"its weights lack classifier.*fine-tune it first"):
        build_from_hub(f"hf:{model}", pretrained=True)
    own = {"AutoConfig": "mine.Config", "AutoModelForSequenceClassification": "mine.Model"}
    (model / "config.json").write_text(
        json.dumps({**config, "model_type": "mine", "auto_map": own})
    )
    (model / "mine.py").write_text("raise SystemExit('code of the model was run')")
    with pytest.raises(InputError, match="comes with code of its own, which is not run"):
        build_from_hub(f"hf:{model}", pretrained=True)


def test_words_with_a_label_each_label_the_first_token_of_each(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(f"hf:{bert(tmp_path / 'bert')}")
    rows = [{"words": ["the", "film", "is", "good"], "tags": [0, 1, 0, 2]}]
    sample = HubRows(rows, {}, "tags", Words(tokenizer, "words", tokens=8), "classification")[0]
    assert sample["labels"].tolist() == [-100, 0, 1, 0, 2, -100, -100, -100]
    assert sample["input_ids"].shape == (8,)
