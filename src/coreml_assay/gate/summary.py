"""The verdict for a continuous-integration service: Markdown for its page, JUnit XML for its tests.

Both are short forms; the report is where everything is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import junitparser

from coreml_assay.gate import latency
from coreml_assay.gate.model_tables import ModelRow, accuracy_groups, model_groups
from coreml_assay.gate.outputs import loses, worst_snr_words
from coreml_assay.gate.reasons import Reason, suite_subject
from coreml_assay.gate.tables import WORST_FIRST, suite_rows
from coreml_assay.gate.verdict import Status, Verdict
from coreml_assay.gate.words import (
    NOT_MEASURED,
    block,
    figure,
    first_line,
    later_lines,
    one_line,
    size,
)
from coreml_assay.latency.filing import QUANTILES
from coreml_assay.records import AccuracyRun, CheckResult, Outcome, Record, SuiteRun

# A job summary is read on a page; what is longer belongs in the report.
_MOST_LINES = 50
_MARKUP = re.compile(r"([\\`*_\[\]#|~@$&<>])")


def markdown(record: Record, verdict: Verdict) -> str:
    """A Markdown summary: verdict, reasons, one row per implementation and per model run."""
    parts = [
        f"## coreml-assay: {_text(verdict.headline)}",
        *_listed("Reasons", verdict.reasons),
        *_suites(record),
        *_models(record),
        *_accuracy(record),
        *_latency(record),
        *_listed("Notes", verdict.notes),
    ]
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Foreign text in Markdown: every character that could be markup is an HTML reference."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", one_line(text))


def _listed(title: str, reasons: Sequence[Reason]) -> Iterator[str]:
    if not reasons:
        return
    yield f"### {title}"
    lines = [f"- {_text(each.sentence)}" for each in reasons[:_MOST_LINES]]
    if len(reasons) > _MOST_LINES:
        lines.append(f"- and {len(reasons) - _MOST_LINES:,} more, in the report")
    yield "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _suites(record: Record) -> Iterator[str]:
    if not record.suites:
        return
    yield "### Checks"
    header = ["implementation", "executed", *(outcome.value for outcome in WORST_FIRST)]
    rows = []
    for row in suite_rows(record):
        numbers = dict(row.outcomes.counts)
        rows.append(
            [
                _text(row.name),
                f"{row.executed:,} of {row.expected:,}",
                *(f"{numbers.get(outcome, 0):,}" for outcome in WORST_FIRST),
            ]
        )
    yield _table(header, rows)


def _models(record: Record) -> Iterator[str]:
    if not record.models:
        return
    yield "### Models"
    header = [
        "model",
        "configuration",
        "implementation",
        "size",
        "compressed",
        "SNR",
        "worst error",
    ]
    yield _table(
        header,
        [
            [_text(group.model), _text(each.configuration), *_model_cells(row)]
            for group in model_groups(record)
            for each in group.configurations
            for row in each.rows
        ],
    )


def _model_cells(row: ModelRow) -> list[str]:
    run = row.run
    name = _text(f"{run.implementation} {run.version}")
    if run.error is not None:
        return [name, f"error: {_text(run.error)}", *[NOT_MEASURED] * 3]
    return [
        name,
        row.size,
        f"{len(run.compressed):,} of {row.weights:,}" if row.weights else NOT_MEASURED,
        figure(run.weight_snr_db, "dB", 1),
        figure(run.worst_error_in_steps, "steps", 3),
    ]


def _accuracy(record: Record) -> Iterator[str]:
    for group in accuracy_groups(record):
        yield f"### Accuracy: {_text(group.model)}"
        floats = f"; {group.metric}, float model: {figure(group.float_score, digits=3)}"
        yield _text(f"{group.data}{floats if group.metric else ''}")
        header = ["configuration", "implementation", "size", "SNR, worst output"]
        rows = [_accuracy_cells(run) for run in group.runs]
        yield _table([*header, _text(group.metric or "score")], rows)


def _accuracy_cells(run: AccuracyRun) -> list[str]:
    name = _text(f"{run.implementation} {run.version}")
    known = f" (known: {_text(run.known)})" if run.known and loses(run) else ""
    if run.error is not None:
        return [_text(run.configuration), name, f"error: {_text(run.error)}{known}", "", ""]
    score = NOT_MEASURED if run.score is None else figure(run.score, digits=3)
    return [
        _text(run.configuration),
        name,
        size(run.bytes),
        worst_snr_words(run.outputs),
        f"{score}{known}",
    ]


def _latency(record: Record) -> Iterator[str]:
    groups = {
        f"Latency: {_text(device)}": rows for device, rows in latency.device_groups(record).items()
    }
    if evaluated := latency.evaluator_rows(record):
        groups["Latency of the evaluator on a CPU: figures of no device"] = evaluated
    for title, rows in groups.items():
        yield f"### {title}"
        yield _table(
            ["model", "configuration", "compute units", *QUANTILES, "worst output"],
            [
                [
                    _text(row.model),
                    _text(row.configuration),
                    _text(row.compute_units),
                    *row.figures,
                    row.outputs,
                ]
                for row in rows
            ],
        )


def junit_xml(record: Record, verdict: Verdict) -> bytes:
    """JUnit XML: a test case per check, and one for the verdict, which holds its reasons.

    Deviations, capabilities that are absent and checks that did not run are skipped test cases
    with the reason; a listed deviation that no longer shows is a failure, as it is to the gate.
    """
    xml = junitparser.JUnitXml("coreml-assay")
    xml.append(_verdict_suite(verdict))
    for suite in record.suites:
        xml.append(_junit_suite(suite))
    xml.update_statistics()
    content: bytes = xml.tostring()
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + content + b"\n"


def _verdict_suite(verdict: Verdict) -> junitparser.TestSuite:
    case = junitparser.TestCase("verdict", "coreml-assay gate")
    if verdict.status is not Status.PASS:
        failure = junitparser.Failure(verdict.headline, verdict.status.value)
        failure.text = "\n".join(each.sentence for each in verdict.reasons)
        case.append(failure)
    return _filled("gate", [case])


def _junit_suite(suite: SuiteRun) -> junitparser.TestSuite:
    name = one_line(suite_subject(suite))
    filled = _filled(name, [_junit_case(check, name) for check in suite.checks])
    filled.add_property("checks_expected", str(suite.checks_expected))
    for key, value in suite.metrics.items():
        filled.add_property(one_line(key), repr(value))
    return filled


def _filled(name: str, cases: Sequence[junitparser.TestCase]) -> junitparser.TestSuite:
    suite = junitparser.TestSuite(name)
    suite.extend(cases)  # add_testcase counts all cases anew for each one
    suite.update_statistics()
    return suite


def _junit_case(check: CheckResult, name: str) -> junitparser.TestCase:
    case = junitparser.TestCase(one_line(check.check), name)
    properties = junitparser.junitparser.Properties()
    for key, value in _properties(check):
        properties.add_property(junitparser.junitparser.Property(key, one_line(value)))
    case.append(properties)
    result = _result(check)
    if result is not None:
        case.append(result)
    return case


def _properties(check: CheckResult) -> Iterator[tuple[str, str]]:
    yield "kind", check.kind
    yield "outcome", check.outcome.value
    yield "clauses", " ".join(check.clauses)
    if check.deviation is not None:
        yield "deviation", check.deviation


def _result(check: CheckResult) -> junitparser.junitparser.FinalResult | None:
    if check.outcome is Outcome.PASS:
        return None
    failed = check.outcome in (Outcome.FAIL, Outcome.FIXED)
    kind = junitparser.Failure if failed else junitparser.Skipped
    result = kind(_message(check), check.outcome.value)
    result.text = later_lines(check.detail) if failed else block(check.detail)
    return result


def _message(check: CheckResult) -> str:
    detail = first_line(check.detail)
    if check.outcome is Outcome.FIXED:
        entry = one_line(check.deviation or "that names this check")
        return f"passes although the registry lists it; remove the entry {entry}"
    if check.outcome is Outcome.DEVIATION:
        named = one_line(f"deviation {check.deviation or 'without an entry'}")
        return f"{named}: {detail}" if detail else named
    if check.outcome is Outcome.FAIL:
        return detail or "no detail was recorded"
    return f"{check.outcome.value}: {detail}" if detail else check.outcome.value
