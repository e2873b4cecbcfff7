"""Outputs of quantized models: a small program, and the built-in models."""

from __future__ import annotations

import numpy as np
import pytest
from packaging.specifiers import SpecifierSet

from coreml_assay.accuracy.builtin import BUILT_IN
from coreml_assay.accuracy.cases import BuiltIn, Case, Requirement, Task
from coreml_assay.accuracy.configurations import CONFIGURATIONS, configurations_for
from coreml_assay.accuracy.known import KNOWN_LOSSES, known_loss
from coreml_assay.accuracy.outputs import measure_case
from coreml_assay.accuracy.sensitivity import sensitivities
from coreml_assay.conformance.registry import load_deviations
from coreml_assay.gate.outputs import accuracy_reasons
from coreml_assay.gate.tolerances import METRICS
from coreml_assay.implementations import load_implementation
from coreml_assay.mil.samples import Weight, build_model

pytestmark = pytest.mark.filterwarnings("ignore")

RNG = np.random.default_rng(0)
WIDE = RNG.standard_normal((64, 64)).astype(np.float32)
COARSE = (WIDE * np.where(np.arange(64) == 0, 40, 1)).astype(np.float32)  # one huge column


def case(**fields):
    """Two linear layers, the second of which is hard to quantize."""
    model = build_model([Weight("easy", WIDE, "linear"), Weight("hard", COARSE, "linear")], "iOS16")
    names = [feature.name for feature in model.get_spec().description.input]
    shapes = [tuple(f.type.multiArrayType.shape) for f in model.get_spec().description.input]
    samples = [
        {n: RNG.standard_normal(s).astype(np.float32) for n, s in zip(names, shapes, strict=True)}
        for _ in range(6)
    ]
    return Case("small", model, "six samples", samples[:4], samples[4:], **{"probes": 2, **fields})


def test_a_case_is_measured_every_way():
    told = []
    runs = measure_case(
        case(task=Task("notes told right", lambda outputs: len(outputs) / 4)),
        [load_implementation("reference")],
        lambda done, total: told.append((done, total)),
    )
    assert [run.configuration for run in runs] == [
        "float16 arithmetic",
        *(each.name for each in CONFIGURATIONS if not each.faint_last),
    ]
    assert told == [(i + 1, len(runs)) for i in range(len(runs))]
    by = {run.configuration: run for run in runs}
    assert all(run.error is None for run in runs)
    assert all((run.score, run.float_score) == (1, 1) for run in runs)
    worst = {name: min(o.snr_db for o in run.outputs) for name, run in by.items() if name[0] != "f"}
    assert worst["int8 per channel"] > worst["W8A8"] > worst["int4 per channel"]
    assert worst["int4 per block 8"] > worst["int4 per channel"]
    assert by["int4 per channel"].bytes < by["int8 per channel"].bytes
    assert by["int8 per channel"].bytes < by["int8 per channel"].float_bytes


def test_the_checksum_of_a_model_is_the_same_each_time():
    found = [measure_case(case(), [], lambda *_: None)[0].model_sha256 for _ in range(2)]
    assert found[0] == found[1]


class WithoutActivations:
    name, version = "weights-only", "1"

    class optimize:  # noqa: N801
        coreml = type(
            "coreml",
            (),
            {
                name: staticmethod(getattr(load_implementation("reference").optimize.coreml, name))
                for name in (
                    "OpLinearQuantizerConfig",
                    "OptimizationConfig",
                    "linear_quantize_weights",
                )
            },
        )


def test_what_an_implementation_lacks_is_the_error_of_the_run():
    runs = measure_case(case(), [WithoutActivations()], lambda *_: None)
    errors = {run.configuration: run.error for run in runs}
    assert errors["int8 per channel"] is None
    assert "linear_quantize_activations" in errors["W8A8"]


def test_the_weight_that_costs_most_comes_first():
    found = sensitivities(case(), lambda *_: None)
    weights = [each for each in found if each.kind == "weight"]
    assert [each.name for each in weights] == ["hard", "easy"]
    assert {each.kind for each in found} == {"weight", "activation"}
    ratios = [each.snr_db for each in found]
    assert ratios == sorted(ratios)


def test_a_faint_sample_is_calibrated_with_only_where_there_is_one():
    assert not any(each.faint_last for each in configurations_for(case()))
    assert any(each.faint_last for each in configurations_for(case(faint={})))


def test_activations_are_quantized_only_where_a_case_is_meant_for_it():
    found = configurations_for(case(activations=False))
    assert [each.name for each in found] == [
        "int8 per channel",
        "int4 per channel",
        "int4 per block 8",
    ]


def test_what_is_missing_is_named_with_the_command_that_installs_it():
    absent = Requirement("no-such-package", "1.0"), Requirement("no-such-other")
    assert BuiltIn("x", (*absent, Requirement("numpy")), None).missing == [
        "pip install --no-deps no-such-package==1.0",
        "pip install no-such-other",
    ]
    assert not Requirement("numpy", "0.0.1").is_met


def test_known_losses_are_bound_to_version_model_and_configuration():
    where = ("digits CNN", "W8A8, faint last sample")
    assert known_loss("coremltools", "9.0", *where)
    assert not known_loss("coremltools", "9.1", *where)
    assert not known_loss("reference", "9.0", *where)
    assert not known_loss("coremltools", "9.0", "digits CNN", "W8A8")
    names = {each.name for each in CONFIGURATIONS}
    assert all(set(each.configurations) <= names for each in KNOWN_LOSSES)


def test_known_losses_come_from_deviations_of_versions_that_lose():
    """A loss is known of the versions it was measured on; its cause may be older."""
    deviations = {deviation.id: deviation for deviation in load_deviations()}
    for each in KNOWN_LOSSES:
        (version,) = SpecifierSet(each.versions)
        assert version.operator == "=="
        assert deviations[each.deviation].applies_to(each.implementation, version.version)


def measured(name):
    (built_in,) = [each for each in BUILT_IN if each.name == name]
    if built_in.missing:
        pytest.skip(f"needs {built_in.missing[0]}")
    implementations = [load_implementation(name) for name in ("reference", "coremltools")]
    runs = measure_case(built_in.make(20260101), implementations, lambda *_: None)
    assert {run.metric for run in runs if run.error is None} <= METRICS.keys()
    assert [each.sentence for run in runs for each in accuracy_reasons(run)] == []
    return {(run.configuration, run.implementation): run for run in runs}


def decibels(run):
    return min(output.snr_db for output in run.outputs)


@pytest.mark.slow
def test_digits_keep_their_accuracy_and_a_faint_last_sample_costs_coremltools_its():
    runs = measured("digits")
    faint = "W8A8, faint last sample"
    assert runs[faint, "reference"].score > 0.97
    assert runs[faint, "coremltools"].score < 0.5
    assert runs[faint, "reference"].score == runs["W8A8", "reference"].score
    assert decibels(runs["W8A8", "reference"]) > decibels(runs["W8A8", "coremltools"]) + 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "decibels_at_w8a8"),
    [("crepe", 30), ("basic-pitch", 4), ("faces", 18)],
)
def test_published_models_keep_their_accuracy(name, decibels_at_w8a8):
    runs = measured(name)
    assert runs["int8 per channel", "reference"].outputs == (
        runs["int8 per channel", "coremltools"].outputs
    )
    assert decibels(runs["W8A8", "reference"]) > decibels_at_w8a8


@pytest.mark.slow
def test_a_sentence_encoder_keeps_its_accuracy_with_quantized_weights():
    runs = measured("sentences")
    found = {name: run for (name, by), run in runs.items() if by == "reference"}
    assert found["int8 per channel"].float_score > 0.9
    assert decibels(found["int8 per channel"]) > 28
    assert decibels(found["int4 per block 8"]) > decibels(found["int4 per channel"]) + 3
    for name, run in found.items():
        assert run.outputs == runs[name, "coremltools"].outputs
