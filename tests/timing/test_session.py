"""Two real processes measured in turns; no test looks at how long anything took."""

from __future__ import annotations

import pytest

from coreml_assay.timing.session import Effort, compare
from coreml_assay.timing.sides import Side, TimingError

WORK = ("round-int8-per-channel", "round-int4-block32")
SMALL = Effort(starts=2, pairs=4, sample_seconds=0.001)


def measured(before, after="Copying", workloads=WORK[:1], *, settled=lambda pairs: False, **fields):
    sides = (Side(name=name, implementation=f"timing.subjects:{name}") for name in (before, after))
    options = {"seed": 0, "progress": lambda *_: None, "effort": SMALL, **fields}
    return compare(*sides, workloads, settled=settled, **options)


def test_each_start_has_its_pairs_with_times_of_both_sides():
    (work,) = measured("Copying").workloads
    assert [pair.start for pair in work.pairs] == [0] * 4 + [1] * 4
    assert not work.before_problem + work.after_problem


def test_the_order_within_pairs_is_mixed_and_follows_the_seed():
    one, again = (
        [pair.before_first for pair in measured("Copying", seed=1).workloads[0].pairs]
        for _ in range(2)
    )
    assert one == again
    assert set(one) == {True, False}


def test_figures_are_those_of_each_side():
    (work,) = measured("Copying", "Wider").workloads
    elements = 1024 * 4096
    assert work.before_metrics["bytes"] == elements + 4
    assert work.after_metrics["bytes"] == 2 * elements + 4
    assert work.before_metrics["RMS error"] == work.after_metrics["RMS error"] > 0.1


def test_the_sides_say_who_they_are():
    record = measured("Copying", "Wider")
    assert (record.before.name, record.after.name) == ("Copying", "Wider")
    assert record.before.version == "1"
    assert record.after.kernels
    assert record.machine.cpu
    assert record.machine.cores >= 1


def test_a_workload_that_is_settled_is_not_measured_again():
    def settled(pairs):
        return len(pairs) >= 4

    (work,) = measured("Copying", settled=settled).workloads
    assert len(work.pairs) == 4


def test_what_a_library_prints_does_not_come_between_the_answers():
    (work,) = measured("Talking").workloads
    assert len(work.pairs) == 8


def test_what_is_not_offered_and_what_fails_is_told():
    record = measured("Declining", "Failing")
    (work,) = record.workloads
    assert work.before_problem == "unsupported: not these blocks"
    assert work.after_problem == "error: ValueError: it broke"
    assert work.pairs == ()
    assert work.before_metrics is None


def test_a_process_that_ends_costs_its_workload_and_no_other():
    first, second = measured("Ending", "Copying", WORK).workloads
    assert "ended with 7" in first.before_problem
    assert first.pairs == ()
    assert {pair.start for pair in second.pairs} == {1}


def test_an_implementation_that_does_not_load_is_an_error():
    with pytest.raises(TimingError, match="cannot be loaded"):
        measured("NoSuchThing")


def test_ctrl_c_keeps_what_was_measured():
    def interrupting(_stage, done, _total):
        if done == 1:
            raise KeyboardInterrupt

    record = measured("Copying", workloads=WORK, progress=interrupting)
    assert record.interrupted
    assert [len(work.pairs) for work in record.workloads] == [4, 0]
