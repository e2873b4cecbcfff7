"""The gate on latency: by ratio, and only where its whole interval says so."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from latency_factories import MAC, QuickEvaluator, collected

from coreml_assay.cli import main
from coreml_assay.gate import Kind, Status, judge
from coreml_assay.latency.ingest import ingest
from coreml_assay.records import Environment, Record


def redrawn(result, scale, generator):
    """A result whose samples are drawn anew, in the mean so many ms."""
    rounds = tuple(
        msgspec.structs.replace(
            each,
            samples_ns=tuple(
                round(1e6 * scale * generator.lognormal(0, 0.02)) for _ in each.samples_ns
            ),
        )
        for each in result.run.rounds
    )
    return with_run(result, rounds=rounds)


def with_run(result, **changes):
    return msgspec.structs.replace(result, run=msgspec.structs.replace(result.run, **changes))


@pytest.fixture(scope="module")
def measured(prepared, on_a_mac, evaluated):
    """A function: a record of a session whose predictions take so many ms."""
    ingested = {
        name: ingest(prepared, folder)[1]
        for name, folder in {"evaluator": evaluated, "coreml": on_a_mac}.items()
    }

    def made(scale=1.0, seed=0, backend="evaluator", changed=lambda result: result):
        generator = np.random.default_rng(seed)
        results = [changed(redrawn(each, scale, generator)) for each in ingested[backend]]
        environment = Environment(
            python="3", platform="p", machine="m", cpu_count=1, packages={"coremltools": "9.0"}
        )
        return Record(
            tool_version="1",
            created="now",
            seed=0,
            profile="latency",
            environment=environment,
            latency=tuple(results),
        )

    return made


@pytest.fixture(scope="module")
def baseline(measured):
    return measured()


@pytest.mark.parametrize("scale", [1.2, 1.08])
def test_a_slowdown_is_refused_with_its_ratio_and_interval(measured, baseline, scale):
    verdict = judge(measured(scale, seed=1), baseline)
    assert verdict.status is Status.REGRESSION
    assert [found.kind for found in verdict.reasons] == [Kind.SLOWER] * 2
    for found in verdict.reasons:
        pattern = r"the evaluator is ([\d.]+) \(([\d.]+) to ([\d.]+)\) times the baseline's, "
        assert found.sentence.endswith("the sentinel's 1 times.")
        ratio, low, high = map(float, re.search(pattern, found.sentence).groups())
        assert 1.05 < low <= ratio <= high
        assert low <= scale <= high


@pytest.mark.parametrize("scale", [1.0, 1.03])
def test_what_does_not_count_is_no_reason(measured, baseline, scale):
    verdict = judge(measured(scale, seed=1), baseline)
    assert (verdict.status, verdict.notes) == (Status.PASS, ())


def test_what_cannot_be_told_is_a_note(measured, baseline):
    verdict = judge(measured(1.05, seed=1), baseline)
    assert verdict.status is Status.PASS
    assert {found.kind for found in verdict.notes} == {Kind.UNDECIDED}
    assert all(found.sentence.endswith("decides nothing.") for found in verdict.notes)


def test_faster_is_a_note(measured, baseline):
    verdict = judge(measured(0.8, seed=1), baseline)
    assert verdict.status is Status.PASS
    assert [found.kind for found in verdict.notes] == [Kind.FASTER] * 2


def test_times_of_the_evaluator_and_of_devices_are_never_compared(measured, baseline):
    verdict = judge(measured(1.2, backend="coreml"), baseline)
    assert {found.kind for found in verdict.reasons} == {Kind.MISSING}
    assert {found.kind for found in verdict.notes} == {Kind.NEW}


def on_device(**changes):
    device = msgspec.structs.replace(MAC, **changes)
    return lambda result: msgspec.structs.replace(result, device=device)


def fallback(result):
    """Planned for the CPU, what was the Neural Engine's."""
    planned = result.run.placement
    operations = tuple(msgspec.structs.replace(e, preferred="cpu") for e in planned.operations)
    return with_run(result, placement=msgspec.structs.replace(planned, operations=operations))


def test_two_devices_are_never_compared(measured):
    other = measured(1.2, backend="coreml", changed=on_device(name="Test2,1"))
    verdict = judge(other, measured(backend="coreml"))
    assert {found.kind for found in verdict.reasons} == {Kind.MISSING}


def test_a_reason_says_what_else_changed(measured):
    updated = measured(1.2, backend="coreml", changed=on_device(os_build="24B2"))
    verdict = judge(updated, measured(backend="coreml"))
    assert {found.kind for found in verdict.reasons} == {Kind.SLOWER}
    assert all("(OS build 24A1, now 24B2)" in found.sentence for found in verdict.reasons)


def test_leaving_the_neural_engine_is_a_regression(measured):
    verdict = judge(measured(backend="coreml", changed=fallback), measured(backend="coreml"))
    assert [found.kind for found in verdict.reasons] == [Kind.OPERATIONS_CHANGED] * 4
    assert "now not Neural Engine: 0 % of operations" in verdict.reasons[0].sentence


def test_a_machine_that_is_slower_as_a_whole_decides_nothing(measured, baseline):
    def on_a_slower_machine(result):
        sentinel = result.sentinel
        times = {
            name: tuple(round(1.2 * each) for each in getattr(sentinel, name))
            for name in ("before_ns", "after_ns")
        }
        slower = msgspec.structs.replace(sentinel, **times)
        return msgspec.structs.replace(result, sentinel=slower)

    verdict = judge(measured(1.2, seed=1, changed=on_a_slower_machine), baseline)
    assert verdict.status is Status.PASS
    assert {found.kind for found in verdict.notes} == {Kind.UNDECIDED}
    assert all("sentinel's 1.2 times, which decides" in note.sentence for note in verdict.notes)
    verdict = judge(measured(1.5, seed=1, changed=on_a_slower_machine), baseline)
    assert {found.kind for found in verdict.reasons} == {Kind.SLOWER}


def test_too_few_rounds_decide_nothing(measured, baseline):
    def short(result):
        return with_run(result, rounds=result.run.rounds[:3])

    verdict = judge(measured(1.2, seed=1, changed=short), baseline)
    assert verdict.status is Status.PASS
    assert {found.kind for found in verdict.notes} == {Kind.UNDECIDED}


class Slower(QuickEvaluator):
    """Every prediction but the sentinel's takes 20 % longer."""

    def load(self, package, compute_units):
        loaded = super().load(package, compute_units)
        right = loaded.predict

        def predict(inputs):
            outputs, duration = right(inputs)
            self._clock.now += duration  # so long does the round take
            return outputs, round(1.2 * duration)

        if package.parent.name != "sentinel":
            loaded.predict = predict
        return loaded


def test_a_baseline_on_the_command_line(prepared, evaluated, tmp_path):
    collected(prepared, tmp_path / "slower", Slower)
    report, baseline = tmp_path / "report", tmp_path / "baseline.json"

    def ingested(folder, *options):
        arguments = ["latency", "ingest", prepared, folder, "-o", report, *options]
        return CliRunner().invoke(main, list(map(str, arguments)))

    assert ingested(evaluated).exit_code == 0
    (report / "record.json").rename(baseline)
    assert ingested(evaluated, "-b", baseline).exit_code == 0
    slower = ingested(tmp_path / "slower", "-b", baseline)
    assert slower.exit_code == 1
    words = " ".join(slower.output.split())
    assert re.search(r"is 1\.\d+ \(1\.\d+ to 1\.\d+\) times the baseline's, the sentinel's", words)
    assert "Regression: 2 reasons" in words
    assert "times the baseline" in (report / "index.html").read_text()
