"""The gate for time, on synthetic times: when it is slower, and when nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.gate import Kind, Status
from coreml_assay.gate.times import Finding, compare_times, judge_times, settled
from coreml_assay.timing.records import Workload
from timing.synthetic import SECONDS, record, session, side, start_of_pairs, workload


def finding(seed, ratio, **noise):
    return compare_times(session(seed, ratio, **noise)).finding


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_identical_code_is_not_called_slower(noise):
    found = [finding(seed, 1.0, noise=noise, bias=0.02) for seed in range(100)]
    assert found.count(Finding.SLOWER) == 0


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_slowdown_by_15_per_cent_is_called_slower(noise):
    found = [finding(seed, 1.15, noise=noise, bias=0.02) for seed in range(100)]
    assert found.count(Finding.SLOWER) >= 95


def test_what_is_as_much_faster_is_called_faster():
    assert {finding(seed, 1 / 1.3) for seed in range(20)} == {Finding.FASTER}


def test_slower_by_less_than_counts_is_not_called_slower():
    found = [finding(seed, 1.03) for seed in range(50)]
    assert found.count(Finding.SLOWER) == 0


def test_one_start_decides_nothing():
    rng = np.random.default_rng(0)
    one = start_of_pairs(rng, 0, 2.0)
    assert compare_times(one).finding is Finding.UNDECIDED
    assert not settled(one)
    both = one + start_of_pairs(rng, 1, 2.0)
    assert compare_times(both).finding is Finding.SLOWER
    assert settled(both)


def test_noise_without_end_is_undecided():
    assert finding(0, 1.0, noise=1.0) is Finding.UNDECIDED


def test_a_few_microseconds_do_not_count():
    assert finding(0, 2.0, seconds=5e-6) is Finding.NOT_SLOWER
    assert finding(0, 2.0, seconds=SECONDS) is Finding.SLOWER


def test_calls_are_not_times():
    rng = np.random.default_rng(0)
    pairs = [pair for start in (0, 1) for pair in start_of_pairs(rng, start, 2.0, seconds=5e-6)]
    many = [
        type(pair)(pair.start, True, 1000, *[1000 * t for t in times_of(pair)]) for pair in pairs
    ]
    assert compare_times(many).finding is Finding.NOT_SLOWER


def times_of(pair):
    return (pair.before_cpu, pair.after_cpu, pair.before_wall, pair.after_wall)


def test_wall_time_does_not_count():
    rng = np.random.default_rng(0)
    pairs = [
        type(pair)(pair.start, True, 1, pair.before_cpu, pair.after_cpu, 1.0, 100.0)
        for start in (0, 1)
        for pair in start_of_pairs(rng, start, 1.0, noise=0.01)
    ]
    assert compare_times(pairs).finding is Finding.NOT_SLOWER


def test_no_pairs_are_not_measured():
    assert compare_times([]).finding is Finding.NOT_MEASURED


def kinds(found):
    return [each.kind for each in found]


def test_one_slower_workload_is_a_regression():
    verdict = judge_times(record(workload(1.0, "level"), workload(1.3, "worse")))
    assert verdict.status is Status.REGRESSION
    (reason,) = verdict.reasons
    assert reason.kind is Kind.SLOWER
    assert reason.subject == "worse"
    assert "new takes 1." in reason.sentence


def test_faster_and_undecided_are_notes():
    noisy = Workload(name="noisy", pairs=tuple(session(0, 1.0, noise=1.0)))
    verdict = judge_times(record(workload(0.5, "better"), noisy))
    assert verdict.status is Status.PASS
    assert kinds(verdict.notes) == [Kind.FASTER, Kind.UNDECIDED]


def test_nothing_measured_is_its_own_verdict():
    both = {"before_problem": "unsupported: no", "after_problem": "unsupported: no"}
    for workloads in ((), (Workload(name="work"),), (Workload(name="work", **both),)):
        verdict = judge_times(record(*workloads))
        assert verdict.status is Status.NOTHING_MEASURED
        assert verdict.status.exit_code == 3


def test_a_workload_that_only_the_old_side_can_do_is_missing():
    verdict = judge_times(
        record(workload(), Workload(name="gone", after_problem="error: it broke"))
    )
    assert kinds(verdict.reasons) == [Kind.MISSING]
    assert "it broke" in verdict.reasons[0].sentence


def test_a_workload_that_only_the_new_side_can_do_is_a_note():
    verdict = judge_times(record(workload(), Workload(name="more", before_problem="error: absent")))
    assert verdict.status is Status.PASS
    assert kinds(verdict.notes) == [Kind.NEW]


def test_deterministic_figures_are_compared_exactly():
    def judged(before, after):
        return judge_times(record(workload(before_metrics=before, after_metrics=after)))

    assert judged({"bytes": 100}, {"bytes": 100}).status is Status.PASS
    assert kinds(judged({"bytes": 100}, {"bytes": 101}).reasons) == [Kind.METRIC_ROSE]
    assert kinds(judged({"error": 0.1}, {"error": 0.1 + 1e-9}).reasons) == [Kind.METRIC_ROSE]
    assert kinds(judged({"bytes": 100}, {"bytes": 99}).notes) == [Kind.IMPROVED]
    assert kinds(judged({"bytes": 100}, {}).reasons) == [Kind.MISSING]


def test_with_a_baseline_ratio_is_compared_with_ratio():
    # Half as fast as the other side, as it was before: on its own that is a regression.
    found = record(workload(2.0, seed=1))
    assert judge_times(found).status is Status.REGRESSION
    assert judge_times(found, record(workload(2.0, seed=2))).status is Status.PASS
    assert kinds(judge_times(found, record(workload(1.5))).reasons) == [Kind.SLOWER]
    assert kinds(judge_times(found, record(workload(3.0))).notes) == [Kind.FASTER]


def test_seconds_of_another_session_are_not_compared():
    slow = Workload(name="work", pairs=tuple(session(1, 1.0, seconds=10 * SECONDS)))
    assert judge_times(record(slow), record(workload(1.0))).status is Status.PASS


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda found: record(*found.workloads, cpu="another"),
        lambda found: type(found)(**{**fields(found), "after": side("new", kernels="none: why")}),
    ],
)
def test_a_ratio_from_another_machine_may_differ_more(elsewhere):
    found, accepted = record(workload(1.3)), record(workload(1.0))
    assert judge_times(found, accepted).status is Status.REGRESSION
    assert judge_times(found, elsewhere(accepted)).status is Status.PASS
    worse = judge_times(record(workload(2.0)), elsewhere(accepted))
    assert kinds(worse.reasons) == [Kind.SLOWER]
    assert "another machine" in worse.reasons[0].sentence


def fields(found):
    return {name: getattr(found, name) for name in found.__struct_fields__}


def test_what_the_baseline_has_and_the_record_has_not_is_missing():
    verdict = judge_times(record(workload()), record(workload(), workload(name="gone")))
    assert kinds(verdict.reasons) == [Kind.MISSING]
    nothing = judge_times(record(), record(workload()))
    assert nothing.status is Status.REGRESSION


def test_figures_are_compared_with_the_baseline_and_not_with_the_other_side():
    figures = {"before_metrics": {"bytes": 1}, "after_metrics": {"bytes": 2}}
    found = record(workload(**figures))
    assert judge_times(found).status is Status.REGRESSION
    assert judge_times(found, record(workload(**figures))).status is Status.PASS
    smaller = record(workload(after_metrics={"bytes": 1}))
    assert kinds(judge_times(found, smaller).reasons) == [Kind.METRIC_ROSE]
