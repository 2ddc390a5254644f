from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch

from wfpipe.pipeline.data.source import Data
from wfpipe.support.errors import InputError

OpenData = Callable[..., Data]
WriteFile = Callable[[str], str]

COMMON = """
    import random
    import numpy as np
    import torch
    from PIL import Image
    from torch.utils.data import Dataset, IterableDataset, TensorDataset

    class Items(Dataset):
        def __init__(self, items):
            self.items = items
        def __len__(self):
            return len(self.items)
        def __getitem__(self, index):
            return self.items[index]
"""


@pytest.fixture
def factory(tmp_path: Path) -> WriteFile:
    """Write a Python file with a factory ``build`` and return what names it."""

    def write(body: str) -> str:
        path = tmp_path / "mydata.py"
        path.write_text(dedent(COMMON) + dedent(body))
        return f"{path}:build"

    return write


FLOATS = """
    def build():
        x = torch.arange(24, dtype=torch.float64).reshape(8, 3)
        y = torch.tensor([0, 1] * 4)
        return TensorDataset(x, y), TensorDataset(x[:4], y[:4])
"""


def test_float_tensors_are_features_as_they_are(open_with: OpenData, factory: WriteFile) -> None:
    data = open_with(factory(FLOATS))
    assert data.preprocessing.kind == "features"
    assert data.preprocessing.shape == (3,)
    assert data.classes == 2
    assert data.class_names is None
    inputs, targets = next(iter(data.test_batches(batch=4)))
    assert torch.equal(inputs, torch.arange(12.0).reshape(4, 3))
    assert targets.tolist() == [0, 1, 0, 1]


def test_uint8_tensors_are_images(open_with: OpenData, factory: WriteFile) -> None:
    spec = factory("""
        def build():
            items = Items([(torch.full((3, 4, 5), i, dtype=torch.uint8), i % 2) for i in range(6)])
            return items, items
    """)
    data = open_with(spec)
    assert data.preprocessing.kind == "image"
    assert data.preprocessing.shape == (3, 4, 5)
    inputs, _ = next(iter(data.test_batches(batch=6)))
    assert torch.allclose(inputs[5], torch.full((3, 4, 5), 5 / 255))


def test_pillow_images_are_images_and_can_be_resized(
    open_with: OpenData, factory: WriteFile
) -> None:
    spec = factory("""
        def build():
            items = [(Image.new("L", (4 + i, 6), 10 * i), np.int64(i % 2)) for i in range(6)]
            return items, items
    """)
    data = open_with(spec, size=8)
    assert data.preprocessing.shape == (1, 8, 8)
    inputs, _ = next(iter(data.test_batches(batch=6)))
    assert torch.allclose(inputs[3], torch.full((1, 8, 8), 30 / 255))


RANDOM = """
    def build():
        class Changing(Items):
            def __getitem__(self, index):
                noise = random.random() + np.random.rand() + torch.rand(()).item()
                return torch.tensor([index, noise]), index % 2
        items = Changing([None] * 12)
        return items, items
"""


def collect(batches: Any) -> torch.Tensor:
    return torch.cat([inputs for inputs, _ in batches])


def test_data_set_that_augments_itself_changes_with_the_epoch_and_not_with_the_workers(
    open_with: OpenData, factory: WriteFile
) -> None:
    alone = open_with(factory(RANDOM))
    epochs = [collect(alone.training_batches(epoch=epoch, batch=5)) for epoch in (0, 0, 1)]
    assert torch.equal(epochs[0], epochs[1])
    noise = [epoch[epoch[:, 0].argsort(), 1] for epoch in epochs]
    assert not torch.equal(noise[0], noise[2])
    assert len(set(noise[0].tolist())) == 12
    helped = open_with(factory(RANDOM), workers=2)
    assert torch.equal(collect(helped.training_batches(epoch=1, batch=5)), epochs[2])


def test_reading_leaves_the_global_generators_as_they_were(
    open_with: OpenData, factory: WriteFile
) -> None:
    states = (
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["key"].tolist(),
        torch.get_rng_state(),
    )
    data = open_with(factory(RANDOM))
    list(data.training_batches(epoch=0, batch=4))
    assert random.getstate() == states[0]
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


FACTORIES = {
    "fails": ("def build(): raise KeyError('x')", r"failed.*KeyError"),
    "one thing": ("def build(): return 3", r"must return \(train, test\), got 3"),
    "three": ("def build(): return [], [], []", r"must return \(train, test\), got tuple of 3"),
    "no length": ("def build(): return iter('a'), []", r"train from .* must have len\(\)"),
    "iterable": (
        """
        class Stream(IterableDataset):
            def __len__(self): return 3
            def __iter__(self): return iter([])
        def build(): return Stream(), Stream()
        """,
        r"train from .* must have len\(\) and be read by index, got Stream",
    ),
    "empty": ("def build(): return [], []", r"train from data factory .* has no samples"),
    "length fails": (
        """
        class Broken(Items):
            def __len__(self): raise TypeError("unknown")
        def build(): return Broken(0), Broken(0)
        """,
        r"train from .* must have len\(\)",
    ),
}


@pytest.mark.parametrize(("body", "message"), FACTORIES.values(), ids=FACTORIES)
def test_wrong_result_of_a_factory_is_named(
    open_with: OpenData, factory: WriteFile, body: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        open_with(factory(body))
    assert "\n" not in str(error.value)


ITEMS = {
    "no pair": ("torch.ones(2)", r"sample 0 of train .* must be \(input, target\)"),
    "numpy": ("(np.ones(3), 0)", r"must be a float tensor, .* got ndarray of float64 .*\(3,\)"),
    "flat bytes": ("(torch.ones(3, dtype=torch.uint8), 0)", r"uint8 tensor \(channels, height"),
    "NaN": ("(torch.tensor([1, float('nan')]), 0)", r"sample 0 of train .* holds NaN"),
    "float target": ("(torch.ones(2), 0.5)", r"target of sample 0 .* got 0\.5"),
    "tensor of floats": ("(torch.ones(2), torch.tensor(1.))", r"class index from 0 on, got 1\.0"),
    "negative": ("(torch.ones(2), -1)", r"class index from 0 on, got -1"),
    "truth": ("(torch.ones(2), True)", r"class index from 0 on, got True"),
    "16 bits": ("(Image.new('I;16', (3, 3)), index % 2)", r"\(mode I;16\): .*data\.white"),
    "mixed kinds": (
        "(torch.ones(1, 3, 3) if index else Image.new('L', (3, 3)), index % 2)",
        r"sample 1 of train .* same type as the first",
    ),
    "mixed types": (
        "(torch.ones((1, 3, 3), dtype=torch.uint8 if index else torch.float), index % 2)",
        r"sample 1 of train .* same type as the first",
    ),
    "other shape": ("(torch.ones(2 + index), index % 2)", r"has shape \(3,\): .* has \(2,\)"),
    "other channels": (
        "(torch.ones((1 + index, 3, 3), dtype=torch.uint8), index % 2)",
        r"sample 1 of train .* has 2 channels: the others have 1",
    ),
    "raises": ("open('/nowhere/x')", r"cannot read sample 0 of train .*FileNotFoundError"),
}


@pytest.mark.parametrize(("item", "message"), ITEMS.values(), ids=ITEMS)
def test_wrong_sample_is_named(
    open_with: OpenData, factory: WriteFile, item: str, message: str
) -> None:
    body = f"""
        class Wrong(Items):
            def __getitem__(self, index):
                return {item}
        def build():
            return Wrong([0] * 4), Wrong([0] * 4)
    """
    with pytest.raises(InputError, match=message) as error:
        open_with(factory(body))
    assert "\n" not in str(error.value)


def test_error_in_a_worker_is_one_line(open_with: OpenData, factory: WriteFile) -> None:
    body = """
        class Late(Items):
            def __getitem__(self, index):
                if index == 150:
                    raise ValueError("broken\\nhere")
                return torch.ones(2), index % 2
        def build():
            return Late([0] * 200), Late([0] * 100)
    """
    with pytest.raises(InputError, match=r"sample 150 of train .*ValueError: broken here") as error:
        open_with(factory(body), workers=2)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("cannot read")


def test_factory_that_gives_other_data_in_a_worker_is_refused(
    open_with: OpenData, factory: WriteFile
) -> None:
    body = """
        from pathlib import Path
        def build():
            calls = Path(__file__).with_name("calls")
            calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
            items = [(torch.ones(2), i % 2) for i in range(100 + len(calls.read_text()))]
            return items, items
    """
    with pytest.raises(InputError, match=r"must return the same data each time"):
        open_with(factory(body), workers=1)
