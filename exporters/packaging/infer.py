"""Run the model of this package on images or arrays: needs onnxruntime, numpy and pillow only.

    python infer.py cat.png photos/              classes with their probabilities
    python infer.py samples.npy --top 1 --json   the same for arrays, as JSON
    python infer.py reviews.txt                  the same for texts, in a package with a tokenizer
    python infer.py --self-test                  is the package whole, and right on this machine?
    python infer.py --verbose cat.png            say too which sparse kernels run, if any

Images are turned upright (EXIF), made grayscale or RGB, resized and cropped as they were for
training (manifest.json says how). An .npy file of uint8 holds images, (n, height, width) or
(n, height, width, channels), of which a single channel is repeated where the model takes three;
one of other numbers holds prepared inputs, (n, *shape of the model's input), which go in as they
are. For a model with several inputs an .npz file holds one such array for each, by name. In a
package with a tokenizer a .txt file holds a text on each line, and a .jsonl file an object on each
line, by the names of columns in manifest.json; that needs the library tokenizers too.
The output of a classifier is taken as logits, one for each class; of other models, outputs are
printed as they are where they are few numbers, and --out FILE.npz keeps all of them.

A model that runs on sparse kernels comes with their library for some platforms. It is loaded if it
is as the manifest says, and takes the fastest path of the processor, or WFPIPE_KERNELS=baseline.

Exit codes: 0 done, 2 input that cannot be used (one line says why), 3 the self-test failed.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import argparse
import ctypes
import hashlib
import importlib.util
import json
import platform
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

HERE = Path(__file__).resolve().parent
IMAGE_NAME = re.compile(r"\.(bmp|gif|jfif|jpe|jpe?g|p[bgp]m|png|tiff?|webp)$", re.IGNORECASE)
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others may start programs
DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}  # more than 8 bits
TRANSPARENT = {"LA", "La", "PA", "RGBA", "RGBa"}
TURNS = dict(enumerate((Image.Transpose[name] for name in (
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE",
    "ROTATE_90")), start=2))  # fmt: skip
SCHEMA = "wfpipe-manifest/1"
SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
PROCESSORS = {"windows-amd64": "windows-x86_64", "linux-arm64": "linux-aarch64"}
KEYS = {"files", "golden", "inputs", "outputs", "preprocessing", "class_names", "variant"}
Array = np.ndarray[Any, Any]
Sample = dict[str, Array]  # the inputs of a sample by name


class InputError(Exception):
    """Something the caller has to mend: one line."""


def main() -> int:
    """Read the arguments, run the model, print what it says; return the exit code."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="*", metavar="IMAGE|FOLDER|FILE.npy|.npz|.txt|.jsonl")
    parser.add_argument("--out", metavar="FILE.npz", help="write the outputs, by name")
    parser.add_argument("--top", type=int, default=3, help="classes to show (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--threads", type=int, default=0, help="default: ONNX Runtime's choice")
    parser.add_argument("--self-test", action="store_true", help="check this package instead")
    parser.add_argument("--verbose", action="store_true", help="say which sparse kernels run")
    arguments = parser.parse_args()
    if arguments.self_test == bool(arguments.inputs):
        parser.error("pass images, folders or .npy files; or --self-test alone")
    if arguments.top < 1 or arguments.threads < 0:
        parser.error("--top must be at least 1 and --threads at least 0")
    warnings.simplefilter("error", Image.DecompressionBombWarning)  # absurd sizes
    try:
        manifest = read_manifest()
        if arguments.self_test:
            return self_test(manifest, arguments.threads)
        session = open_session(manifest, arguments.threads)
        if arguments.verbose:
            print(f"infer.py: sparse kernels: {processor_path(manifest)}", file=sys.stderr)
        results: list[dict[str, Any]] = []
        kept: list[dict[str, Array]] = []
        for name, sample in samples(arguments.inputs, manifest):
            outputs = run(session, sample)
            results.append({"input": name, **said(outputs, manifest, arguments.top)})
            if arguments.out:
                kept.append(outputs)
        if arguments.out:
            stacked: dict[str, Any] = {k: np.stack([o[k] for o in kept]) for k in kept[0]}
            np.savez(arguments.out, **stacked)
    except Exception as error:  # a manifest that was edited can fail anywhere
        print(f"infer.py: {one_line(error)}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        for result in results:
            shown = [
                f"{c['name']} {100 * c['probability']:.1f} %" for c in result.get("classes", [])
            ]
            shown += [f"{name} {in_short(v)}" for name, v in result.get("outputs", {}).items()]
            print(f"{result['input']}: {', '.join(shown)}")
    return 0


def read_manifest() -> dict[str, Any]:
    """Return the manifest beside this program."""
    try:
        manifest = json.loads((HERE / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {HERE / 'manifest.json'}: {one_line(error)}") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA or KEYS - set(manifest):
        raise InputError(f"{HERE / 'manifest.json'} is not a whole manifest of schema {SCHEMA}")
    return manifest


def open_session(manifest: dict[str, Any], threads: int) -> ort.InferenceSession:
    """Open the model beside this program on the CPU; 0 threads: as ONNX Runtime chooses."""
    model = HERE / ("model.ort" if manifest["variant"] == "ort" else "model.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    kind = model.suffix[1:].upper()  # left alone, the runtime goes by what the content may be
    options.add_session_config_entry("session.load_model_format", kind)
    library = kernels(manifest)
    try:
        if library is not None:
            options.register_custom_ops_library(str(library))
        cpu = ["CPUExecutionProvider"]
        return ort.InferenceSession(str(model), options, providers=cpu, enable_fallback=0)
    except Exception as error:
        raise InputError(f"cannot open {model}: {one_line(error)}") from None


def kernels(manifest: dict[str, Any]) -> Path | None:
    """Return the library of sparse kernels for this machine, None where the model needs none.

    A library that is not as it was packed is refused: loading it would be running it.
    """
    libraries = manifest.get("libraries")
    if not libraries:
        return None
    here = platform_name()
    if here not in libraries:
        raise InputError(
            f"the model needs sparse kernels, and the package has none for {here}, only for "
            f"{', '.join(libraries)}: ask for one with export.targets={here}"
        )
    name = libraries[here]
    if not unchanged(name, manifest):
        raise InputError(f"{HERE / name} is missing or changed: it is not loaded")
    path: Path = HERE / name
    return path


def platform_name() -> str:
    """Return the name of this machine's platform as the manifest has it."""
    name = f"{SYSTEMS.get(sys.platform, sys.platform)}-{platform.machine().lower()}"
    return PROCESSORS.get(name, name) + ("" if sys.maxsize > 2**32 else "-32bit")


def processor_path(manifest: dict[str, Any]) -> str:
    """Return which path of the sparse kernels runs on this processor, or that there are none."""
    library = kernels(manifest)
    if library is None:
        return "none in this model"
    function = ctypes.CDLL(str(library)).wfpipe_kernels_path
    function.restype = ctypes.c_char_p
    return f"{function().decode()} ({platform_name()})"


def unchanged(name: str, manifest: dict[str, Any]) -> bool:
    """Tell whether a file of the package is there, with the digest that the manifest has."""
    path, wanted = HERE / name, manifest["files"][name]["sha256"]
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == wanted


def run(session: ort.InferenceSession, sample: Sample) -> dict[str, Array]:
    """Return the model's outputs for the prepared inputs of one sample, both by name."""
    names = [value.name for value in session.get_outputs()]
    try:
        outputs = session.run(names, {name: value[None] for name, value in sample.items()})
    except Exception as error:
        raise InputError(f"the model does not run: {one_line(error)}") from None
    return {name: np.asarray(value)[0] for name, value in zip(names, outputs)}  # noqa: B905


def samples(inputs: list[str], manifest: dict[str, Any]) -> Iterator[tuple[str, Sample]]:
    """Yield the name and the prepared inputs of every sample in files and folders."""
    first = manifest["inputs"][0]["name"]
    for path in map(Path, inputs):
        files = [path]
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if IMAGE_NAME.search(f.name))
            if not files:
                raise InputError(f"no images in folder {path}")
        for file in files:
            if file.suffix.lower() == ".npz":
                yield from named_arrays(file, manifest)
            elif file.suffix.lower() == ".npy":
                yield from arrays(file, manifest)
            elif file.suffix.lower() in (".txt", ".jsonl"):
                yield from text_program(manifest, str(file)).samples(file, manifest, HERE)
            else:
                image = prepare(read_image(file, manifest), manifest, str(file))
                yield str(file), {first: image}


def text_program(manifest: dict[str, Any], name: str) -> Any:
    """Return the program beside this one that makes inputs of text."""
    if not manifest.get("text"):
        raise InputError(f"{name} holds text, and the package has no tokenizer: pass .npz")
    for file in ("texts.py", "tokenizer.json"):
        if not unchanged(file, manifest):
            raise InputError(f"{HERE / file} is missing or changed: it is not loaded")
    spec = importlib.util.spec_from_file_location("texts", HERE / "texts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arrays(path: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, Sample]]:
    """Yield the samples of an .npy file: uint8 images, or inputs that are prepared already."""
    if len(manifest["inputs"]) != 1:
        raise InputError(f"{path} holds one array, and the model has several inputs: pass .npz")
    spec = manifest["inputs"][0]
    array = load(path)
    if not isinstance(array, np.ndarray):
        raise InputError(f"cannot read {path}: it holds several arrays")
    images = array.dtype == np.uint8 and array.ndim in (3, 4) and array.size > 0
    images = images and spec["dtype"] == "float32"
    if not images:
        array = typed(array, spec, str(path))
    for index, sample in enumerate(array):
        name = f"{path}[{index}]"
        if images:
            planes = [Image.fromarray(plane) for plane in np.moveaxis(np.atleast_3d(sample), 2, 0)]
            sample = prepare(planes, manifest, name)
        yield name, {spec["name"]: sample}


def named_arrays(path: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, Sample]]:
    """Yield the samples of an .npz file: an array for each input of the model, by name."""
    found = load(path)
    missing = [spec["name"] for spec in manifest["inputs"] if spec["name"] not in found]
    if isinstance(found, np.ndarray) or missing:
        raise InputError(f"{path} lacks an array for {', '.join(missing)}")
    values = {s["name"]: typed(found[s["name"]], s, f"{path}: {s['name']}")
              for s in manifest["inputs"]}  # fmt: skip
    if len({len(value) for value in values.values()}) != 1:
        raise InputError(f"{path} holds arrays of different numbers of samples")
    for index in range(len(next(iter(values.values())))):
        yield f"{path}[{index}]", {name: value[index] for name, value in values.items()}


def load(path: Path) -> Any:
    """Return the array, or the arrays, of a file."""
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:
        raise InputError(f"cannot read {path}: {one_line(error)}") from None


def typed(array: Array, spec: dict[str, Any], name: str) -> Array:
    """Return prepared inputs in the type of the model's input."""
    wanted = np.dtype(spec["dtype"])
    kinds = "f" if wanted.kind == "f" else "iub"
    if not array.size or array.dtype.kind not in kinds or array.ndim < min(2, len(spec["shape"])):
        what = "uint8 images or float inputs" if wanted.kind == "f" else f"{wanted} inputs"
        raise InputError(f"{name} must hold {what}, got {array.dtype} {array.shape}")
    return array.astype(wanted)


def read_image(path: Path, manifest: dict[str, Any]) -> list[Image.Image]:
    """Read an image file as the channels that the network takes: grayscale, or RGB."""
    try:
        with Image.open(path, formats=FORMATS) as file:
            file.load()
            image = upright(file)
        mode = "L" if channels(manifest) == 1 else "RGB"
        return list(coloured(image, mode, manifest["preprocessing"] or {}).split())
    except Exception as error:
        raise InputError(f"cannot read image {path}: {one_line(error)}") from None


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says, if that can be read."""
    try:
        turn = TURNS.get(int(image.getexif().get(0x0112, 1)))
    except Exception:
        turn = None
    return image if turn is None else image.transpose(turn)


def coloured(image: Image.Image, mode: str, how: dict[str, Any]) -> Image.Image:
    """Return an image as "L" or "RGB": deep values over ``white``, transparency on its ground."""
    if image.mode in DEEP:
        if not how.get("white"):
            raise ValueError(f"it has pixels of mode {image.mode}, and must have 8-bit ones")
        values = np.asarray(image).astype(np.float64) * (255 / how["white"])
        image = Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
    if image.mode in TRANSPARENT or "transparency" in image.info:
        image = image.convert("RGBA")
        if how.get("background"):
            ground = Image.new("RGBA", image.size, how["background"])
            image = Image.alpha_composite(ground, image)
        image = image.convert("RGB")
    return image.convert(mode)


def channels(manifest: dict[str, Any]) -> int | None:
    """Return the number of channels that the network takes, None if it takes no images."""
    how = manifest["preprocessing"]
    return int(how["shape"][0]) if how and how["kind"] == "image" else None


def prepare(planes: list[Image.Image], manifest: dict[str, Any], name: str) -> Array:
    """Return an image, given by its channels, as the network takes it: float32 (c, h, w)."""
    wanted = channels(manifest)
    if len(planes) == 1 and wanted == 3:
        planes = planes * 3
    if wanted != len(planes):
        takes = "no images: pass a float .npy" if wanted is None else f"{wanted} channels"
        raise InputError(f"{name} has {len(planes)} channels, and the model takes {takes}")
    how = manifest["preprocessing"]
    pixels = np.stack([np.asarray(fitted(plane, how)) for plane in planes])
    return normalise(pixels, how["mean"], how["std"])


def fitted(plane: Image.Image, how: dict[str, Any]) -> Image.Image:
    """Return a channel resized, and its centre cut out where the manifest says so."""
    wanted = (how["shape"][2], how["shape"][1])
    resize = how.get("resize")
    size = wanted
    if resize is None:
        size = plane.size if how.get("crop") else wanted
    elif len(resize) == 2:
        size = (resize[1], resize[0])
    else:
        side, short = resize[0], min(plane.size)
        size = tuple(side if n == short else side * n // short for n in plane.size)
    if plane.size != size:
        resample = Image.Resampling[how.get("interpolation", "bilinear").upper()]
        plane = plane.resize(size, resample)
    if not how.get("crop"):
        return plane
    left, top = (crop_start(own, want) for own, want in zip(plane.size, wanted, strict=True))
    return plane.crop((left, top, left + wanted[0], top + wanted[1]))


def crop_start(own: int, wanted: int) -> int:
    """Return where a centred crop begins; before 0 where black is added around the image."""
    return round((own - wanted) / 2) if own >= wanted else -((wanted - own) // 2)


def normalise(pixels: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Return uint8 pixels (c, h, w) as the float32 values that the network takes."""
    centre, width = (np.asarray(values, np.float32).reshape(-1, 1, 1) for values in (mean, std))
    return np.asarray((pixels.astype(np.float32) / np.float32(255) - centre) / width)


def said(outputs: dict[str, Array], manifest: dict[str, Any], top: int) -> dict[str, Any]:
    """Return what is said of the outputs for a sample: classes, or the outputs by name."""
    output = outputs[manifest.get("output") or next(iter(outputs))]
    if manifest.get("task", "classification") == "classification" and output.ndim == 1:
        return {"classes": best(output, manifest, top)}
    return {"outputs": {name: value.tolist() for name, value in outputs.items()}}


def in_short(values: Any) -> str:
    """Return numbers as they are where they are few, else their shape."""
    array = np.asarray(values)
    if array.size > 8:
        return f"of shape {array.shape}"
    return np.array2string(array, precision=4, separator=", ").replace("\n", "")


def best(output: Array, manifest: dict[str, Any], top: int) -> list[dict[str, Any]]:
    """Return the ``top`` most probable classes; the model's output is taken as logits."""
    names = manifest["class_names"] or [str(index) for index in range(output.size)]
    if output.shape != (len(names),) or not np.isfinite(output).all():
        raise InputError(
            f"the model must give {len(names)} finite scores, got shape {output.shape}"
        )
    exponent = np.exp(output.astype(np.float64) - output.max())
    probabilities = exponent / exponent.sum()
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {"index": int(i), "name": names[i], "probability": float(probabilities[i])} for i in order
    ]


def self_test(manifest: dict[str, Any], threads: int) -> int:
    """Compare the files with their digests and the model's outputs with the golden ones."""
    for name in manifest["files"]:
        if not unchanged(name, manifest):
            print(f"infer.py: self-test failed: {name} is missing or changed", file=sys.stderr)
            return 3
    session = open_session(manifest, threads)
    golden_inputs = golden_samples(manifest)
    rows = [run(session, sample) for sample in golden_inputs]
    texts = ""
    if manifest.get("text"):
        try:
            texts = "; " + text_program(manifest, "").check(manifest, HERE, golden_inputs)
        except ValueError as error:
            print(f"infer.py: self-test failed: {one_line(error)}", file=sys.stderr)
            return 3
    difference = 0.0
    for spec, file in golden_files("outputs", manifest):
        golden = np.load(file).astype(np.float64)
        outputs = np.stack([row[spec["name"]] for row in rows]).astype(np.float64)
        scale = float(np.abs(golden).max()) or 1.0
        difference = max(difference, float(np.abs(outputs - golden).max()) / scale)
    allowed = manifest["golden"]["tolerance"]
    passed = difference <= allowed
    print(
        f"self-test {'passed' if passed else 'failed'}: {len(rows)} golden samples, "
        f"largest difference {difference:.1e} of the largest output ({allowed:.1e} allowed); "
        f"sparse kernels: {processor_path(manifest)}{texts}"
    )
    return 0 if passed else 3


def golden_files(kind: str, manifest: dict[str, Any]) -> list[tuple[dict[str, Any], Path]]:
    """Return what the manifest says of each input, or output, with the file of its values."""
    numbers = ["", *(f"-{number}" for number in range(2, len(manifest[kind]) + 1))]
    files = [HERE / "golden" / f"{kind}{number}.npy" for number in numbers]
    return list(zip(manifest[kind], files))  # noqa: B905


def golden_samples(manifest: dict[str, Any]) -> list[Sample]:
    """Return the golden samples, prepared."""
    files = golden_files("inputs", manifest)
    if len(files) == 1:
        return [sample for _, sample in arrays(files[0][1], manifest)]
    loaded = {spec["name"]: np.load(file) for spec, file in files}
    count = manifest["golden"]["samples"]
    return [{name: values[i] for name, values in loaded.items()} for i in range(count)]


def one_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
