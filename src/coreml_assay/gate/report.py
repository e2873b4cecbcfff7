"""The report: one self-contained HTML page about a record and its verdict.

It needs no script, no network and no second file, so it reads the same from a build artefact, an
e-mail or a printer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from coreml_assay.files import write_bytes
from coreml_assay.gate import latency, model_tables, plots, summary, tables, words
from coreml_assay.gate.absolute import not_run_sentence, unexplained
from coreml_assay.gate.drift import Drift
from coreml_assay.gate.outputs import loses, snr_words
from coreml_assay.gate.tolerances import TOLERANCES
from coreml_assay.gate.verdict import Status, Verdict
from coreml_assay.latency.filing import QUANTILES
from coreml_assay.records import Outcome, Record, write_record

_SYMBOLS = {
    Outcome.PASS: "✓",
    Outcome.FAIL: "✗",
    Outcome.DEVIATION: "≠",
    Outcome.FIXED: "!",
    Outcome.UNSUPPORTED: "○",
    Outcome.NOT_MEASURED: "?",
}
_MEANINGS = {
    Outcome.PASS: "behaves as the clause says",
    Outcome.FAIL: "does not behave as the clause says, and no registry entry explains it",
    Outcome.DEVIATION: "does not behave as the clause says, in the way the registry lists",
    Outcome.FIXED: "behaves as the clause says although the registry lists a deviation",
    Outcome.UNSUPPORTED: "the implementation does not offer what is checked",
    Outcome.NOT_MEASURED: "the check did not come to a judgement",
}
_SIDE_BY_SIDE = 3  # more implementations than this have no room for words in a table
_STATUS_SYMBOLS = {Status.PASS: "✓", Status.REGRESSION: "✗", Status.NOTHING_MEASURED: "?"}


def render(
    record: Record,
    verdict: Verdict,
    clauses: Sequence[tables.Clause],
    deviations: Sequence[tables.Deviation],
    drifts: Sequence[Drift] = (),
) -> str:
    """The page. Every text is escaped; what was not measured is those two words."""
    groups = tables.clause_groups(record, clauses)
    return (
        _environment()
        .get_template("report.html")
        .render(
            record=record,
            verdict=verdict,
            status_symbol=_STATUS_SYMBOLS[verdict.status],
            suites=tables.suite_rows(record),
            groups=groups,
            many=len(record.suites) > _SIDE_BY_SIDE,
            areas=tables.area_groups(groups),
            cells=tables.cell_details(record),
            failures=tables.findings(record, Outcome.FAIL, Outcome.FIXED),
            deviations=tables.deviation_rows(record, deviations),
            drifts=drifts,
            models=model_tables.model_groups(record),
            accuracy=model_tables.accuracy_groups(record),
            devices=latency.device_groups(record),
            evaluated=latency.evaluator_rows(record),
            quantiles=QUANTILES,
            metrics=tables.metric_rows(record),
            tolerances=TOLERANCES,
            legend=_MEANINGS,
        )
    )


def write_report(
    folder: Path,
    record: Record,
    verdict: Verdict,
    clauses: Sequence[tables.Clause],
    deviations: Sequence[tables.Deviation],
    drifts: Sequence[Drift] = (),
) -> None:
    """Write index.html, summary.md, junit.xml and record.json into a folder.

    Raises:
        OSError: the folder cannot be written; each file is then old or new, never half.
    """
    write_record(record, folder / tables.RECORD_FILE)
    page = render(record, verdict, clauses, deviations, drifts)
    write_bytes(folder / "index.html", page.encode())
    write_bytes(folder / "summary.md", summary.markdown(record, verdict).encode())
    write_bytes(folder / "junit.xml", summary.junit_xml(record, verdict))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("coreml_assay.gate", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every text goes through here, so none reaches the page with characters that break it.
        finalize=_printable,
    )
    environment.filters.update(
        figure=words.figure,
        metric=words.metric,
        counted=words.count,
        line=words.one_line,
        first=words.first_line,
        rest=words.later_lines,
        symbol=_SYMBOLS.__getitem__,
        css_class=_css_class,
        link=_is_link,
        change=_change,
        snr_words=snr_words,
        loses=loses,
        size=words.size,
        plot=plots.signal_to_noise,
        unexplained=unexplained,
        anchor=tables.anchor,
        sentence=not_run_sentence,
    )
    environment.globals["NOT_MEASURED"] = words.NOT_MEASURED
    return environment


def _printable(value: object) -> object:
    return words.block(value) if type(value) is str else value


def _css_class(outcome: Outcome | Status | None) -> str:
    return "none" if outcome is None else outcome.value.replace(" ", "-")


def _is_link(address: str | None) -> bool:
    """Whether an address may become a link: only the web's, so that no script hides in one."""
    return address is not None and address.startswith(("https://", "http://"))


def _change(before: int, after: int) -> str:
    """How a size changed, in per cent of what it was."""
    if not before or not after:
        return words.NOT_MEASURED
    return f"{100 * after / before:.1f} %"
