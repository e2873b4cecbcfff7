"""What a run shows in a terminal or a log: progress, then a table and the line that matters."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from coreml_assay.gate import Status, Verdict, latency
from coreml_assay.gate.absolute import not_run_sentence
from coreml_assay.gate.model_tables import AccuracyGroup, accuracy_groups
from coreml_assay.gate.outputs import loses, worst_snr_words
from coreml_assay.gate.times import Comparison, compare_times
from coreml_assay.gate.words import count
from coreml_assay.records import AccuracyRun, ModelRun, Outcome, Record, SuiteRun
from coreml_assay.timing.records import TimeRecord

_SHOWN_REASONS = 12
_SHOWN_SENSITIVITIES = 5


@contextmanager
def stage_progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A function to be told a stage, what is done and what there is to do, from any thread.

    In a terminal each stage is a bar; in a log file it is a line at each quarter.
    """
    if not console.is_terminal:
        yield _stage_lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(stage), total=total)
            bars.update(tasks[stage], completed=done)

        yield told


def _stage_lines(console: Console) -> Callable[[str, int, int], None]:
    quarters: dict[str, int] = {}
    lock = threading.Lock()

    def told(stage: str, done: int, total: int) -> None:
        reached = 4 * done // total
        with lock:
            if reached > quarters.get(stage, 0):
                quarters[stage] = reached
                console.print(f"{escape(stage)}: {done} of {total}")

    return told


def show_verdict(console: Console, record: Record, verdict: Verdict, report: Path | None) -> None:
    """Print tables of the suites and models, the reasons, and last the verdict."""
    if record.suites:
        console.print(_suites_table(record.suites))
    for missing in record.not_run:
        if missing.state == "failed":  # a reason, and shown with them
            continue
        console.print(escape(not_run_sentence(missing)), soft_wrap=True)
    for suite in record.suites:
        listed = [check.deviation for check in suite.checks if check.deviation]
        if listed:
            console.print(
                f"{count(len(set(listed)), 'known deviation')} of "
                f"{escape(suite.implementation)} {suite.version}, in {count(len(listed), 'check')}"
            )
    for agreement in record.agreements:
        explained = sum(agreement.deviating.values())
        console.print(
            f"{agreement.equal} of {agreement.cases} random programs of "
            f"{escape(agreement.implementation)} equal {escape(agreement.against)} "
            f"{agreement.against_version}'s, {explained} differ by a known deviation "
            f"(seed {agreement.seed})"
        )
    if record.models:
        console.print(_models_table(record.models))
    for group in accuracy_groups(record):
        console.print(_accuracy_table(group))
    for device, rows in latency.device_groups(record).items():
        console.print(_latency_table(f"Latency in ms. {device}", rows))
    if evaluated := latency.evaluator_rows(record):
        title = "CPU time of the evaluator in ms, standing in: figures of no device"
        console.print(_latency_table(title, evaluated))
    for each in record.sensitivities[:_SHOWN_SENSITIVITIES]:
        ratio = "equal" if each.snr_db is None else f"{each.snr_db:.1f} dB"
        console.print(
            f"{ratio:>8}  {escape(each.model)}: {each.kind} {escape(each.name)} alone, {each.codes}"
        )
    _show_reasons(console, verdict)
    if record.environment.kernels:
        console.print(f"compiled kernels: {escape(record.environment.kernels)}")
    if report is not None:
        console.print(f"report: {escape(str(report / 'index.html'))}", soft_wrap=True)
    _show_headline(console, verdict)


def show_times(console: Console, record: TimeRecord, verdict: Verdict, path: Path) -> None:
    """Print a table of the workloads, the reasons, and last the verdict."""
    console.print(_times_table(record))
    for side in (record.before, record.after):
        revision = f" at {side.revision[:12]}" if side.revision else ""
        console.print(
            f"{escape(side.name)}: {escape(side.implementation)} {escape(side.version)}{revision}, "
            f"compiled kernels: {escape(side.kernels)}"
        )
    for note in verdict.notes[:_SHOWN_REASONS]:
        console.print(f"[dim]-[/dim] {escape(note.sentence)}")
    _show_reasons(console, verdict)
    console.print(f"record: {escape(str(path))}", soft_wrap=True)
    if record.interrupted:
        console.print("[bold red]Interrupted: what was measured until then is kept[/bold red]")
    else:
        _show_headline(console, verdict)


def _show_reasons(console: Console, verdict: Verdict) -> None:
    for reason in verdict.reasons[:_SHOWN_REASONS]:
        console.print(f"[red]-[/red] {escape(reason.sentence)}")
    if len(verdict.reasons) > _SHOWN_REASONS:
        console.print(f"  and {len(verdict.reasons) - _SHOWN_REASONS} more, in the report")


def _show_headline(console: Console, verdict: Verdict) -> None:
    style = "green" if verdict.status is Status.PASS else "red"
    console.print(f"[bold {style}]{escape(verdict.headline)}[/bold {style}]")


def _times_table(record: TimeRecord) -> Table:
    title = f"CPU time of a call, in ms, one thread; {record.machine.cpu}"
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("workload", no_wrap=True)
    for name in (record.before.name, record.after.name):
        table.add_column(escape(name), justify="right", overflow="fold")
    for name in ("ratio", "interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for workload in record.workloads:
        found = compare_times(workload.pairs)
        table.add_row(escape(workload.name), *_times_cells(found), found.finding.value)
    return table


def _times_cells(found: Comparison) -> list[str]:
    if found.interval is None or found.before is None or found.after is None:
        return [""] * 4
    times = [f"{1000 * seconds:.3g}" for seconds in (found.before, found.after)]
    low, high = found.interval.low, found.interval.high
    interval = f"{low:.3g}-{high:.3g}" if math.isfinite(high) else "none yet"
    return [*times, f"{found.interval.ratio:.3g}", interval]


def _suites_table(suites: tuple[SuiteRun, ...]) -> Table:
    table = Table(title="Conformance", title_justify="left", box=None, pad_edge=False)
    table.add_column("implementation", overflow="fold")
    shown = (Outcome.PASS, Outcome.FAIL, Outcome.DEVIATION, Outcome.FIXED, Outcome.UNSUPPORTED)
    for outcome in shown:
        table.add_column(outcome.value, justify="right")
    table.add_column("of", justify="right")
    for suite in suites:
        counts = Counter(check.outcome for check in suite.checks)
        table.add_row(
            escape(f"{suite.implementation} {suite.version}"),
            *[str(counts[outcome]) for outcome in shown],
            str(suite.checks_expected),
        )
    return table


def _models_table(models: tuple[ModelRun, ...]) -> Table:
    """One row for each model and configuration; one for each implementation where they differ."""
    title = "Real models (worst: largest error of a weight, in steps of its scale)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("model", "configuration", "by"):
        table.add_column(name, overflow="fold")
    for name in ("weights", "size", "SNR dB", "worst"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, str], list[ModelRun]] = {}
    for run in models:
        groups.setdefault((run.model, run.configuration), []).append(run)
    for (model, configuration), runs in groups.items():
        equal = len(runs) > 1 and len({(run.program_sha256, run.error) for run in runs}) == 1
        for run in runs[:1] if equal else runs:
            by = "all equal" if equal else run.implementation
            table.add_row(escape(model), configuration, escape(by), *_model_cells(run))
    return table


def _model_cells(run: ModelRun) -> list[str]:
    if run.error is not None:
        return ["failed", "", "", ""]
    share = f"{100 * run.bytes / run.float_bytes:.0f}%" if run.float_bytes else "not measured"
    return [
        f"{len(run.compressed)} of {len(run.compressed) + len(run.skipped)}",
        share,
        "not measured" if run.weight_snr_db is None else f"{run.weight_snr_db:.1f}",
        "not measured" if run.worst_error_in_steps is None else f"{run.worst_error_in_steps:.3f}",
    ]


def _accuracy_table(group: AccuracyGroup) -> Table:
    """One row for each configuration; one for each implementation where they differ."""
    metric = "" if group.metric is None else f"; {group.metric}, float: {group.float_score:.3f}"
    title = escape(f"Outputs of {group.model} ({group.data}{metric})")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("configuration", "by"):
        table.add_column(name, overflow="fold")
    for name in ("size", "SNR, worst output", "score"):
        table.add_column(name, justify="right")
    rows: dict[str, list[AccuracyRun]] = {}
    for run in group.runs:
        rows.setdefault(run.configuration, []).append(run)
    for configuration, runs in rows.items():
        equal = len(runs) > 1 and len({(run.outputs, run.bytes, run.error) for run in runs}) == 1
        for run in runs[:1] if equal else runs:
            by = "all equal" if equal else f"{run.implementation} {run.version}".strip()
            table.add_row(configuration, escape(by), *_accuracy_cells(run))
    return table


def _latency_table(title: str, rows: Sequence[latency.LatencyRow]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    for name in ("model", "configuration", "units"):
        table.add_column(name, overflow="fold")
    for name in ("p50", "p99", "outputs"):
        table.add_column(name, justify="right")
    for row in rows:
        p50, _, p99, _ = (each.removesuffix(" ms") for each in row.figures)
        names = (row.model, row.configuration, row.compute_units)
        table.add_row(*map(escape, names), p50, p99, row.outputs)
    return table


def _accuracy_cells(run: AccuracyRun) -> list[str]:
    known = ", known" if run.known and loses(run) else ""
    if run.error is not None:
        return ["", f"failed{known}", ""]
    share = f"{100 * run.bytes / run.float_bytes:.0f}%" if run.float_bytes else "not measured"
    score = "" if run.score is None else f"{run.score:.3f}{known}"
    return [share, worst_snr_words(run.outputs), score]
