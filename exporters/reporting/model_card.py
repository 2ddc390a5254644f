"""The model card of a package: what it is, from what, how well it does, and where that ends."""

from __future__ import annotations

from ..documents.forms import PLAIN
from ..documents.manifest import TOKENIZER_FILE, Manifest, PackedFigures
from ..documents.preprocessing import Preprocessing
from ..documents.report import Environment, GateResult, ModelFigures, Report
from ..documents.score import shown
from ..documents.units import format_bytes, format_count, format_ms, format_speed
from ..judging.gates import describe, machine
from ..judging.headline import headline
from .markdown_text import escaped, table_of

_NONE = "not measured"
_PROBABILITIES = (
    "Probabilities are the softmax of its outputs. Nobody checked that they are calibrated."
)
_FORMS = {
    PLAIN: "a plain ONNX file with the zeros in it",
    "sparse": "an ONNX file that stores pruned tensors sparsely, for runtimes that read such",
    "int8": "an ONNX file with 8-bit integer weights and activations",
    "fp16": "an ONNX file with 16-bit floats inside, and 32-bit ones at its input and output",
    "sparse-cpu": "an ONNX file whose pruned layers run on sparse kernels",
    "ort": "a file in ONNX Runtime's own format, for minimal builds too",
}
Row = tuple[str, str, str]


def model_card(manifest: Manifest, report: Report | None) -> str:
    """Return the card as Markdown; the same arguments give the same text.

    Args:
        manifest: describes the package; the digest of the card itself is not looked at.
        report: the measurements, or ``None`` where there were none.
    """
    name = "Pruned model" if report is None else f"{escaped(report.model)}, pruned"
    parts = [
        f"# {name}",
        "Written by wfpipe of the very file that is packed.",
        "## What it is",
        *_what(manifest, report),
        "## From what it was made",
        _origin(manifest, report),
        "## How well it does",
        *_measured(manifest, report),
        "## Limits",
        "\n".join(f"* {line}" for line in _limits(manifest, report)),
    ]
    return "\n\n".join(parts) + "\n"


def _what(manifest: Manifest, report: Report | None) -> list[str]:
    file = manifest.files[manifest.model_file]
    form = _FORMS.get(manifest.variant, "a file of the model")
    rows = [
        ("file in the package", f"`{manifest.model_file}`: {form}"),
        ("size", f"{file.bytes:,} bytes"),
        ("SHA-256", f"`{file.sha256}`"),
        ("sparsity", _share(manifest.sparsity, report)),
        *[("input", _tensor(spec.name, spec.dtype, spec.shape)) for spec in manifest.inputs],
        *[("output", _tensor(spec.name, spec.dtype, spec.shape)) for spec in manifest.outputs],
        ("preparation", _preparation(manifest)),
        ("classes", _classes(manifest.class_names)),
        *_kernels(manifest.libraries),
    ]
    return [table_of([("", ""), *rows])]


def _origin(manifest: Manifest, report: Report | None) -> str:
    made = manifest.versions
    by = f"wfpipe {made.wfpipe}"
    by += f", ONNX operator set {made.opset}" if made.opset is not None else ""
    lines = [
        f"* Pruned and exported with {by}.",
        f"* Digest of the recipe (SHA-256): {_digest(manifest.recipe_digest)}.",
    ]
    if report is not None:
        dense = report.dense
        lines.insert(
            0,
            f"* Made from the dense model {escaped(report.model)} with "
            f"{format_count(dense.nonzeros, 'non-zero values')}, {format_bytes(dense.file_bytes)}.",
        )
    return "\n".join(lines)


def _measured(manifest: Manifest, report: Report | None) -> list[str]:
    figures = manifest.figures
    if figures is None or report is None:
        return ["It was packed without measurements: nothing is known of its accuracy or speed."]
    return [
        escaped(headline(report).sentence),
        table_of([("", "dense", "this model"), *_rows(figures)]),
        _gates(report, manifest.variant, figures.environment),
        _environment(figures.environment),
    ]


def _rows(figures: PackedFigures) -> list[Row]:
    dense, packed = figures.dense, figures.pruned
    rows: list[Row] = [
        (f"{dense.title}, {figures.test_samples:,} test samples", _score(dense), _score(packed))
    ]
    for batch, latency in packed.latency_ms.items():
        other = dense.latency_ms.get(batch)
        rows += [
            (f"p50, batch {batch}", format_ms(other.p50) if other else _NONE,
             format_ms(latency.p50)),
            (f"p90, batch {batch}", format_ms(other.p90) if other else _NONE,
             format_ms(latency.p90)),
        ]  # fmt: skip
        if speed := figures.speedup.get(batch):
            rows.append((f"speed, dense / this model, batch {batch}", "", format_speed(speed)))
    return [
        *rows,
        ("file size", format_bytes(dense.file_bytes), format_bytes(packed.file_bytes)),
        (
            "compressed size",
            format_bytes(dense.deflated_bytes),
            format_bytes(packed.deflated_bytes),
        ),
        ("load time", format_ms(dense.load_ms), format_ms(packed.load_ms)),
        ("peak memory", _memory(dense), _memory(packed)),
    ]


def _gates(report: Report, variant: str, environment: Environment) -> str:
    found: list[GateResult] = report.gates
    if variant != PLAIN:
        found = report.variants[variant].gates
    if not found:
        return "No gate was set."
    return "\n".join(
        f"* {'passed' if gate.passed else '**failed**'}: {escaped(describe(gate, environment))}"
        for gate in found
    )


def _environment(environment: Environment) -> str:
    settings = [
        f"ONNX Runtime {environment.onnxruntime}",
        f"Python {environment.python}",
        f"PyTorch {environment.torch}" if environment.torch else "no PyTorch",
        environment.system,
        f"threads that wait {'stay busy' if environment.spinning else 'sleep'}",
        f"subnormal numbers {'count as zero' if environment.flush_denormals else 'are kept'}",
    ]
    return f"Measured on {escaped(machine(environment))}; {escaped(', '.join(settings))}."


def _limits(manifest: Manifest, report: Report | None) -> list[str]:
    lines = [
        "It was tested on samples like those of its test split, and on no others: how it does on "
        "data of another origin, on damaged inputs or on single groups of samples is not known.",
        _PROBABILITIES if manifest.task == "classification" else f"Its task is {manifest.task}.",
        "Times hold for the machine named above. `wfpipe profile` measures on the one at hand.",
        "A signature says who packed it, and nothing of its quality.",
    ]
    figures = manifest.figures
    if report is None or figures is None:
        return ["It was not tested here.", lines[1], lines[3]]
    score = figures.pruned.score
    if score is not None and score.low is None:
        name = figures.pruned.title.capitalize()
        lines.insert(1, f"{name} is of {figures.test_samples:,} samples, without an interval.")
    form = report.variants.get(manifest.variant)
    return lines + [escaped(note) for note in (form.notes if form else ())]


def _score(figures: ModelFigures) -> str:
    score = figures.score
    if score is None:
        return _NONE
    if score.low is None or score.high is None:
        return score.text()
    interval = f"{shown(score.low, score.unit)} to {shown(score.high, score.unit)}"
    return f"{score.text()} (95 % interval {interval})"


def _memory(figures: ModelFigures) -> str:
    return _NONE if figures.memory_bytes is None else format_bytes(figures.memory_bytes)


def _kernels(libraries: dict[str, str]) -> list[tuple[str, str]]:
    """Say what a model that runs on sparse kernels needs."""
    if not libraries:
        return []
    names = ", ".join(f"`{name}`" for name in libraries.values())
    return [
        ("runs on", f"CPUs of {', '.join(libraries)}: their sparse kernels are in the package"),
        ("needs", f"ONNX Runtime 1.17 or newer, and the library of the platform: {names}. "
         "`infer.py` registers it"),
    ]  # fmt: skip


def _share(sparsity: float | None, report: Report | None) -> str:
    parts = [] if sparsity is None else [f"{100 * sparsity:.2f} % of the prunable weights"]
    if report is not None and report.file_sparsity is not None:
        parts.append(f"{100 * report.file_sparsity:.2f} % of all weights of the model")
    return ", ".join(parts) or "not stated"


def _digest(digest: str | None) -> str:
    return "not stated" if digest is None else f"`{escaped(digest)}`"


def _tensor(name: str, dtype: str, shape: tuple[int | str | None, ...]) -> str:
    sizes = " × ".join("?" if size is None else str(size) for size in shape)
    return escaped(f"{name}: {dtype}, {sizes}")


def _preparation(manifest: Manifest) -> str:
    how, text = manifest.preprocessing, manifest.text
    if text is not None:
        return f"text to {text.tokens} tokens by `{TOKENIZER_FILE}`, cut or filled up"
    if how is None:
        return "not stated"
    shape = " × ".join(map(str, how.shape))
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (how.mean, how.std))
    if how.kind == "image":
        return (
            f"images to {shape}{_sizing(how)}, pixels in 0 to 1, less mean {mean}, over std {std}"
        )
    return f"features of shape {shape}, less mean {mean}, over std {std}"


def _sizing(how: Preprocessing) -> str:
    """Say how an image comes to its size, where that is more than a resize to it."""
    if not how.crop:
        return "" if how.interpolation == "bilinear" else f" ({how.interpolation})"
    before = ""
    if how.resize is not None:
        what = "short side" if len(how.resize) == 1 else "height and width"
        before = f"{what} to {' × '.join(map(str, how.resize))} ({how.interpolation}), "
    return f" ({before}centre cut out)"


def _classes(names: tuple[str, ...] | None) -> str:
    if names is None:
        return "not stated"
    shown = ", ".join(escaped(name) for name in names[:20])
    return f"{len(names)}: {shown}" + (", …" if len(names) > 20 else "")
