from __future__ import annotations

from wfpipe.exporters.documents.report import GateResult, Speedup, VariantFigures
from wfpipe.exporters.judging.pick import choose
from wfpipe.exporters.judging.variant_verdict import choice_in_words, variants_verdict
from wfpipe.tests.exporters.package_samples import make_report, model_figures

PLAIN = model_figures(accuracy=93.0, file_bytes=40_000, deflated_bytes=8_000)


def test_each_form_has_what_it_gains_and_what_it_costs() -> None:
    int8 = VariantFigures(
        file="model.int8.onnx",
        figures=model_figures(accuracy=92.7, file_bytes=10_000, deflated_bytes=4_000),
        parity=0.04,
        speedup={
            "1": Speedup(ratio=1.5, low=1.4, high=1.6),
            "8": Speedup(ratio=0.5, low=0.4, high=0.6),
            "32": Speedup(ratio=1.1, low=0.9, high=1.2),
        },
    )
    assert variants_verdict(PLAIN, {"int8": int8}) == (
        "int8: 4.00 times smaller than the plain file (10.0 kB, compressed 4.0 kB against 8.0 kB), "
        "accuracy 0.30 points lower, 1.50 times faster at batch 1, 2.00 times slower at batch 8, "
        "not measurably faster or slower at batch 32 than dense."
    )


def test_a_planned_speed_stands_beside_the_measured_one() -> None:
    form = VariantFigures(
        file="model.sparse-cpu.onnx",
        figures=model_figures(accuracy=93.0, file_bytes=40_000, deflated_bytes=8_000),
        parity=1e-7,
        speedup={"1": Speedup(ratio=1.93, low=1.9, high=1.95)},
        target_speedup=2.0,
        planned_speedup=2.013,
    )
    assert variants_verdict(PLAIN, {"sparse-cpu": form}).endswith(
        "1.93 times faster at batch 1 than dense. Its sparsities were planned for 2.01 times the "
        "speed of dense for a target of 2; measured at batch 1 are 1.93 times."
    )


def test_equal_outputs_accuracy_and_size_are_called_so() -> None:
    same = model_figures(accuracy=93.0, file_bytes=40_100, deflated_bytes=8_000)
    larger = same.model_copy(update={"file_bytes": 60_000, "accuracy": 93.5})
    text = variants_verdict(
        PLAIN,
        {
            "sparse": VariantFigures(file="a", figures=same, parity=0.0),
            "fp16": VariantFigures(file="b", figures=same, parity=1e-3),
            "ort": VariantFigures(file="c", figures=larger, parity=1e-6),
        },
    )
    assert "sparse: as large as the plain file" in text
    assert "the same outputs.\nfp16: " in text
    assert "the same accuracy.\nort: 1.50 times larger than the plain file" in text
    assert text.endswith("accuracy 0.50 points higher.")


def test_a_form_that_failed_is_named_with_the_reason() -> None:
    failed = VariantFigures(file="a", failure="the model cannot be quantised: no Conv")
    assert variants_verdict(PLAIN, {"int8": failed}) == (
        "int8 could not be used: the model cannot be quantised: no Conv."
    )


def test_the_choice_is_said_where_there_was_one() -> None:
    report = make_report(gates=[])
    assert choice_in_words(report) == ""
    words = choice_in_words(choose(report, "smallest"))
    assert words == "plain ships: the smallest of the forms that pass all gates."
    failing = make_report(gates=[GateResult(name="min_speedup", wanted=2, got=1, passed=False)])
    words = choice_in_words(choose(failing, "fastest"))
    assert words.startswith("No form passes all gates, nearest is plain: min_speedup")
