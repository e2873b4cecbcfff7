"""The gate refuses each kind of lost accuracy, and nothing else."""

from __future__ import annotations

import pytest
from factories import only, record

from coreml_assay.gate import Kind, Status, judge, render
from coreml_assay.gate.tolerances import METRICS, OUTPUT_SNR
from coreml_assay.records import (
    SCHEMA_VERSION,
    AccuracyRun,
    OutputError,
    Sensitivity,
    read_record,
    write_record,
)


def output(**fields):
    return OutputError(**{"output": "y", "snr_db": 40.0, "cosine": 0.99, "largest": 0.1, **fields})


def run(**fields):
    defaults = {
        "model": "digits CNN",
        "model_sha256": "ab" * 32,
        "data": "540 digits",
        "configuration": "W8A8",
        "bits": 8,
        "implementation": "reference",
        "version": "1.0",
        "float_bytes": 100_000,
        "bytes": 60_000,
        "outputs": (output(),),
        "metric": "digits told right",
        "float_score": 0.99,
        "score": 0.985,
        "seconds": 1.0,
    }
    return AccuracyRun(**{**defaults, **fields})


def judged(new, old=None):
    baseline = None if old is None else record(accuracy=(old,))
    return judge(record(accuracy=() if new is None else (new,)), baseline)


def test_a_run_within_the_tolerance_passes():
    assert judged(run()).status is Status.PASS
    assert judged(run(), run()).status is Status.PASS


ALLOWED = METRICS["digits told right"].value


def test_a_score_too_far_below_the_float_models():
    assert judged(run(score=0.99 - ALLOWED + 1e-6)).status is Status.PASS
    found = only(judged(run(score=0.99 - ALLOWED - 1e-6)))
    assert found.kind is Kind.ACCURACY_LOST
    assert "digits told right fell from 0.990 (float) to 0.975" in found.sentence


def test_with_fewer_bits_only_the_baseline_counts():
    four = run(configuration="int4 per channel", bits=4, score=0.5)
    assert judged(four).status is Status.PASS
    better = run(configuration="int4 per channel", bits=4, score=0.9)
    assert only(judged(four, better)).kind is Kind.ACCURACY_LOST


def test_values_that_are_not_finite():
    found = only(judged(run(outputs=(output(snr_db=None, largest=None, non_finite=3),))))
    assert found.kind is Kind.ACCURACY_LOST
    assert "3 values of output y" in found.sentence


def test_an_error():
    found = only(judged(run(error="ValueError: no scale", outputs=(), score=None)))
    assert found.kind is Kind.MODEL_ERROR


@pytest.mark.parametrize("lost", [{"score": 0.1}, {"error": "ValueError: no scale"}])
def test_a_known_loss_passes_and_one_that_is_gone_does_not(lost):
    assert judged(run(known="a reason", **lost)).status is Status.PASS
    found = only(judged(run(known="a reason")))
    assert found.kind is Kind.LOSS_GONE
    assert "a reason" in found.sentence


def test_the_loss_counts_and_not_the_score():
    """A float model that is itself worse is no loss of the quantizer."""
    assert judged(run(float_score=0.9, score=0.895), run()).status is Status.PASS


def test_a_lower_ratio_than_the_baselines():
    lower = run(outputs=(output(snr_db=40 - OUTPUT_SNR.value - 0.1),))
    assert only(judged(lower, run())).kind is Kind.SNR_FELL
    assert judged(run(outputs=(output(snr_db=39.9),)), run()).status is Status.PASS
    verdict = judged(run(), lower)
    assert verdict.status is Status.PASS
    assert [note.kind for note in verdict.notes] == [Kind.IMPROVED]


def test_an_output_that_was_equal_and_is_not():
    equal = run(outputs=(output(snr_db=None, largest=0.0),))
    assert only(judged(run(), equal)).kind is Kind.SNR_FELL
    assert judged(equal, equal).status is Status.PASS


def test_an_output_that_is_missing():
    assert only(judged(run(outputs=()), run())).kind is Kind.FIGURE_LOST


def test_a_score_that_is_missing():
    assert only(judged(run(score=None), run())).kind is Kind.FIGURE_LOST


def test_a_run_that_is_missing():
    assert only(judged(None, run())).kind is Kind.MISSING


def test_another_model():
    assert only(judged(run(model_sha256="cd" * 32), run())).kind is Kind.MODEL_REPLACED


def test_a_network_that_was_trained_anew_has_a_wider_tolerance():
    anew = run(trained=True, model_sha256="cd" * 32, outputs=(output(snr_db=37.0),))
    assert judged(anew, run(trained=True)).status is Status.PASS
    worse = run(trained=True, model_sha256="cd" * 32, outputs=(output(snr_db=33.0),))
    assert only(judged(worse, run(trained=True))).kind is Kind.SNR_FELL


def test_the_report_shows_figures_errors_known_losses_and_sensitivities():
    made = record(
        accuracy=(
            run(data="540 <digits>"),
            run(implementation="coremltools", score=0.1, known="only the last sample counts"),
            run(configuration="W4A8", error="ValueError: <scale>"),
            run(configuration="int8", outputs=(output(snr_db=None, largest=0.0),)),
        ),
        sensitivities=(
            Sensitivity(model="digits CNN", kind="weight", name="w<1>", codes="int4", snr_db=12.3),
        ),
    )
    page = render(made, judge(made, None), (), ())
    for part in (
        "540 &lt;digits&gt;",
        "known loss",
        "only the last sample counts",
        "ValueError: &lt;scale&gt;",
        "40.0 dB",
        "equal",
        "w&lt;1&gt;",
        "12.3 dB",
    ):
        assert part in page


def test_records_hold_accuracy_and_older_ones_are_read_without(tmp_path):
    made = record(accuracy=(run(),))
    write_record(made, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == made
    text = (tmp_path / "record.json").read_text()
    old = record(schema_version=1)
    write_record(old, tmp_path / "old.json")
    assert read_record(tmp_path / "old.json").accuracy == ()
    assert SCHEMA_VERSION == 4
    assert '"schema_version": 4' in text


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_json_cannot_hold_is_refused(figure):
    with pytest.raises(ValueError, match="cannot hold"):
        output(snr_db=figure)
    with pytest.raises(ValueError, match="cannot hold"):
        run(score=figure)
