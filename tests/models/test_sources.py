from __future__ import annotations

import math
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from wfpipe.models.sources import (
    build_from_factory,
    build_from_library,
    is_factory,
    load_factory,
)
from wfpipe.support.errors import InputError
from wfpipe.tests.refusal import refusal_of


@pytest.fixture(autouse=True)
def _leave_no_modules() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        if name.startswith(("wfpipe_user_", "helper")):
            del sys.modules[name]


def write(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def refusal(spec: str, what: str = "model") -> str:
    search_path = list(sys.path)
    message = refusal_of(lambda: load_factory(spec, what)())
    assert sys.path == search_path
    return message


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("net.py:build", True),
        ("C:\\models\\net.py:build", True),
        ("net.py", True),
        ("net.py:", True),
        ("resnet20", False),
        ("timm:resnet18", False),
        ("folder.py/net", False),
    ],
)
def test_a_factory_is_told_by_its_form(spec: str, expected: bool) -> None:
    assert is_factory(spec) is expected


def test_a_function_or_class_is_called_without_arguments(tmp_path: Path) -> None:
    file = write(tmp_path / "a.py", "def one():\n    return 1\n\nclass Two:\n    pass\n")
    assert load_factory(f"{file}:one", "data")() == 1
    assert type(load_factory(f"{file}:Two", "data")()).__name__ == "Two"


def test_the_file_is_split_from_the_factory_at_the_last_colon(tmp_path: Path) -> None:
    file = write(tmp_path / "c:drive" / "net.py", "def build():\n    return 7\n")
    assert load_factory(f"{file}:build", "data")() == 7


def test_modules_beside_the_file_can_be_imported_on_loading_and_in_the_factory(
    tmp_path: Path,
) -> None:
    write(tmp_path / "helper_a.py", "VALUE = 2\n")
    write(tmp_path / "helper_b.py", "VALUE = 3\n")
    text = "import helper_a\n\ndef build():\n    import helper_b\n    return helper_a, helper_b\n"
    search_path = list(sys.path)
    factory = load_factory(f"{write(tmp_path / 'net.py', text)}:build", "data")
    assert sys.path == search_path
    assert [helper.VALUE for helper in factory()] == [2, 3]
    assert sys.path == search_path


def test_what_a_file_puts_on_the_search_path_is_there_for_its_factory(tmp_path: Path) -> None:
    write(tmp_path / "library" / "far_helper.py", "VALUE = 5\n")
    text = (
        f"import sys\nsys.path.append({str(tmp_path / 'library')!r})\n\n"
        "def build():\n    import far_helper\n    return far_helper.VALUE\n"
    )
    search_path = list(sys.path)
    assert load_factory(f"{write(tmp_path / 'net.py', text)}:build", "data")() == 5
    assert sys.path == search_path


def test_files_in_two_folders_get_the_helpers_of_their_own_folder(tmp_path: Path) -> None:
    factories = []
    text = "from helper import A\n\ndef build():\n    import helper\n    return A, helper.A\n"
    for name in ("one", "two"):
        write(tmp_path / name / "helper.py", f"A = {name!r}\n")
        file = write(tmp_path / name / "net.py", text)
        factories.append(load_factory(f"{file}:build", "data"))
    assert [factory() for factory in factories] == [("one", "one"), ("two", "two")]


def test_files_in_one_folder_share_their_helpers(tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "class Shared:\n    pass\n")
    text = "from helper import Shared\n\ndef build():\n    return Shared\n"
    shared = [load_factory(f"{write(tmp_path / name, text)}:build", "data")() for name in "ab"]
    assert shared[0] is shared[1]


def test_a_library_below_the_folder_is_not_taken_for_a_helper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "site" / "helper_library.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file = write(tmp_path / "net.py", "import helper_library\n\ndef build():\n    return 1\n")
    load_factory(f"{file}:build", "data")()
    library = sys.modules["helper_library"]
    write(tmp_path / "other" / "net.py", "def build():\n    return 1\n")
    load_factory(f"{tmp_path}/other/net.py:build", "data")()
    assert sys.modules["helper_library"] is library


def test_the_file_never_takes_the_place_of_a_module_of_its_name(tmp_path: Path) -> None:
    file = write(tmp_path / "math.py", "def build():\n    return __name__\n")
    assert load_factory(f"{file}:build", "data")() != "math"
    assert sys.modules["math"] is math


def test_objects_of_classes_in_the_file_can_be_pickled(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "class Box:\n    content = 5\n")
    box = load_factory(f"{file}:Box", "data")()
    assert pickle.loads(pickle.dumps(box)).content == 5


def test_a_changed_file_is_read_anew_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "def build():\n    return 1\n")
    assert load_factory(f"{file}:build", "data")() == 1
    write(tmp_path / "net.py", "def build():\n    return 2\n")
    assert load_factory(f"{file}:build", "data")() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]


def test_changes_to_the_search_path_by_the_file_are_undone(tmp_path: Path) -> None:
    text = "import sys\nsys.path = ['elsewhere', *sys.path]\n\ndef build():\n    return 1\n"
    search_path = list(sys.path)
    assert load_factory(f"{write(tmp_path / 'net.py', text)}:build", "data")() == 1
    assert sys.path == search_path


@pytest.mark.parametrize("spec", ["net.py", "net.py:"])
def test_a_file_without_a_factory_is_told_the_form(spec: str) -> None:
    message = refusal(spec)
    assert message == (
        f"model {spec!r} names no factory: pass FILE.py:FACTORY, such as net.py:build"
    )


def test_a_missing_an_empty_and_a_non_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    assert refusal(f"{path}:build") == f"model file {str(path)!r} does not exist"
    path.touch()
    assert refusal(f"{path}:build", "data") == f"data file {str(path)!r} is empty"
    path.unlink()
    path.mkdir()
    assert refusal(f"{path}:build") == f"model file {str(path)!r} is not a file"


def test_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "x = 1\ndef build(:\n")
    message = refusal(f"{file}:build")
    assert message.startswith(f"model file {file!r} cannot be imported: SyntaxError: ")
    assert "line 2" in message


@pytest.mark.parametrize(
    "content", [b"x = '\xff'\n", b"x = 1\0\n", b"(" * 10_000, b"\x89PNG\r\n\x1a\n"]
)
def test_a_file_that_is_not_python_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.py").write_bytes(content)
    assert "cannot be imported" in refusal(f"{tmp_path / 'net.py'}:build")


def test_an_error_on_import_is_named_with_type_message_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "x = 1\n\nraise ValueError('too\\nbad')\n")
    assert refusal(f"{file}:build") == (
        f"model file {file!r} cannot be imported (line 3): ValueError: too bad"
    )


def test_an_error_in_a_helper_is_named_with_the_line_that_imports_it(tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "import no_such_module_anywhere\n")
    file = write(tmp_path / "net.py", "x = 1\nimport helper\n")
    message = refusal(f"{file}:build")
    assert "(line 2): ModuleNotFoundError: No module named 'no_such_module_anywhere'" in message


def test_a_file_that_exits_does_not_end_the_program(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "import sys\nsys.exit(3)\n")
    assert "(line 2): SystemExit: 3" in refusal(f"{file}:build")


def test_a_failed_import_leaves_no_module_behind(tmp_path: Path) -> None:
    before = set(sys.modules)
    refusal(f"{write(tmp_path / 'net.py', '1 / 0')}:build")
    assert set(sys.modules) == before


def test_a_missing_factory_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    text = "from math import sqrt\n\ndef build():\n    return 1\n\nclass Net:\n    pass\n"
    file = write(tmp_path / "net.py", text)
    message = refusal(f"{file}:biuld")
    assert "unknown model factory 'biuld': did you mean 'build'? known: Net, build." in message
    assert repr(file) in message


def test_a_file_that_defines_nothing_is_said_to(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "x = 1\n")
    assert "it defines no function" in refusal(f"{file}:build")


def test_a_factory_that_cannot_be_called_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "build = 3\n")
    message = refusal(f"{file}:build")
    assert message == f"model factory '{file}:build' must be a function or class, got a int"


def test_an_error_in_the_factory_is_named_with_type_message_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "def build():\n    x = {}\n    return x['a']\n")
    message = refusal(f"{file}:build", "data")
    assert message == f"data factory '{file}:build' failed (line 3): KeyError: 'a'"


def test_a_factory_that_wants_arguments_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "def build(classes):\n    return 1\n")
    assert "failed: TypeError: build() missing 1 required" in refusal(f"{file}:build")


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "raise ValueError('x' * 10_000)\n")
    assert len(refusal(f"{file}:build")) < 600 + len(file)


def test_a_model_factory_returns_its_module(tmp_path: Path) -> None:
    text = "from torch import nn\n\ndef build():\n    return nn.Linear(3, 2)\n"
    module = build_from_factory(f"{write(tmp_path / 'net.py', text)}:build")
    assert isinstance(module, nn.Linear)


@pytest.mark.parametrize(("result", "got"), [("3", "int"), ("nn.Linear", "the class Linear")])
def test_a_model_factory_that_returns_no_module_is_refused(
    tmp_path: Path, result: str, got: str
) -> None:
    text = f"from torch import nn\n\ndef build():\n    return {result}\n"
    spec = f"{write(tmp_path / 'net.py', text)}:build"
    with pytest.raises(InputError) as caught:
        build_from_factory(spec)
    assert str(caught.value) == (f"model factory {spec!r} must return a torch.nn.Module, got {got}")


class FakeLibrary(types.ModuleType):
    """Stands for timm and for torchvision.models, and notes what it was asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[dict[str, Any]] = []

    def create_model(self, name: str, **options: Any) -> nn.Module:
        self.asked.append({"name": name, **options})
        if name != "tiny":
            raise RuntimeError(f"Unknown\nmodel ({name})")
        module = nn.Linear(4, options["num_classes"])
        module.pretrained_cfg = {"num_classes": 1000}  # type: ignore[assignment]
        return module

    get_model = create_model

    def list_models(self) -> list[str]:
        return ["tiny", "huge"]


@pytest.fixture(params=["timm", "torchvision"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    name: str = request.param
    if name == "torchvision":
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    full_name = "timm" if name == "timm" else "torchvision.models"
    fake = FakeLibrary(name)
    monkeypatch.setitem(sys.modules, full_name, fake)
    return fake


def test_a_library_builds_the_network_for_the_classes(library: FakeLibrary) -> None:
    module = build_from_library(library.__name__, "tiny", pretrained=False, classes=7)
    assert isinstance(module, nn.Linear)
    no_weights = {"pretrained": False} if library.__name__ == "timm" else {"weights": None}
    assert library.asked == [{"name": "tiny", "num_classes": 7, **no_weights}]


def test_a_library_loads_its_own_weights_when_asked(library: FakeLibrary) -> None:
    build_from_library(library.__name__, "tiny", pretrained=True, classes=1000)
    weights = {"pretrained": True} if library.__name__ == "timm" else {"weights": "DEFAULT"}
    assert library.asked == [{"name": "tiny", "num_classes": 1000, **weights}]


def test_pretrained_weights_for_other_classes_are_refused(library: FakeLibrary) -> None:
    # timm would leave the last layer random and say nothing.
    with pytest.raises(InputError, match="are for 1000 classes and the data has 7: fine-tune"):
        build_from_library(library.__name__, "tiny", pretrained=True, classes=7)


def test_an_unknown_network_is_answered_with_the_nearest_name(library: FakeLibrary) -> None:
    with pytest.raises(InputError) as caught:
        build_from_library(library.__name__, "tinny", pretrained=False, classes=7)
    name = library.__name__
    assert str(caught.value) == (
        f"model '{name}:tinny': did you mean 'tiny'? "
        f"{name} says RuntimeError: Unknown model (tinny)"
    )


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_a_library_that_is_absent_is_answered_with_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=name) as caught:
        build_from_library(name, "tiny", pretrained=False, classes=7)
    assert 'pip install "wfpipe[vision]"' in str(caught.value)


def test_a_library_that_fails_on_import_is_answered_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "timm.py", "raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(InputError, match="timm cannot be imported") as caught:
        build_from_library("timm", "tiny", pretrained=False, classes=7)
    assert "torchvision::nms does not exist" in str(caught.value)
    assert 'pip install "wfpipe[vision]"' in str(caught.value)
