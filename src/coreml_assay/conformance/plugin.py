"""The pytest plugin: chooses the implementation, turns test results into outcomes.

It wakes up only in runs that collect the conformance suite.
"""

from __future__ import annotations

import gc
import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import pytest

from coreml_assay.conformance.traces import (
    Tested,
    append_result,
    end_with_parent,
    write_planned,
    write_tested,
)
from coreml_assay.records import CheckResult, Outcome

_SUITE = Path(__file__).parent
_KINDS = {"properties": "property", "goldens": "golden", "recipes": "recipe"}
_RESULT = "coreml_assay.result"
# What is another in each run, so that two records of the same are the same.
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_TEMPORARY = re.compile(re.escape(tempfile.gettempdir()) + r"/[\w./-]+")
# Inputs that a property is tried on; most are tried so on each of eight grids.
_EXAMPLES = {"quick": 16, "thorough": 1000}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("coreml-assay", "coreml-assay conformance suite")
    group.addoption(
        "--implementation",
        default="reference",
        metavar="NAME",
        help="under test: an installed one, module:object or command:PROGRAM (default: reference)",
    )
    group.addoption(
        "--clause",
        action="append",
        default=[],
        metavar="ID",
        help="run only the checks of this clause; can be repeated",
    )
    group.addoption(
        "--assay-profile",
        choices=sorted(_EXAMPLES),
        default="quick",
        help="how many inputs each property is tried on",
    )
    group.addoption(
        "--assay-results",
        type=Path,
        metavar="FILE",
        help="append the result of each check to FILE, one JSON object a line; what there was to "
        "check, and who was tested, go into files beside it",
    )
    group.addoption(
        "--assay-figures",
        action="store_true",
        help="also measure the memory that quantizing a weight takes, for who was tested",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "clause(*ids): the clauses a conformance check is about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the checks of the clauses asked for."""
    wanted = set(config.getoption("--clause"))
    if not wanted:
        return
    others = [item for item in items if _is_check(item) and not wanted & set(clauses_of(item))]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Prepare hypothesis and the garbage collector before the suite is imported."""
    if _SUITE in module_path.parents:
        _load_profile(parent.config)
        # Models are made of many thousand objects that live on; looking through them all every
        # few hundred, as Python does by default, takes a third of a run.
        gc.set_threshold(20_000, 20, 20)


def _load_profile(config: pytest.Config) -> None:
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.internal.conjecture import providers

    # hypothesis also tries numbers that it finds in the source of imported modules, unless they
    # are installed: a check's inputs would depend on the checks before it, and on where the
    # package lies.
    setattr(providers, "is_local_module_file", lambda path: False)  # noqa: B010 - not typed
    settings.register_profile(
        "coreml-assay",
        max_examples=_EXAMPLES[config.getoption("--assay-profile")],
        deadline=None,  # no check asserts a time
        database=None,  # the seed alone decides, on every machine
        derandomize=False,  # as hypothesis does where CI is set, deaf to any seed
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        # A subject carries nothing from one input to the next but what to say on failure.
        # What an implementation does not offer is passed over, however much that is.
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.function_scoped_fixture,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
        ],
    )
    settings.load_profile("coreml-assay")


def check_name(item: pytest.Item) -> str:
    """The name of a check: its place in the suite, for example ``properties/test_a.py::test_b``."""
    return f"{item.path.relative_to(_SUITE).as_posix()}::{item.nodeid.split('::', 1)[1]}"


def clauses_of(item: pytest.Item) -> tuple[str, ...]:
    """The clauses a check names."""
    return tuple(clause for mark in item.iter_markers("clause") for clause in mark.args)


@pytest.fixture(scope="session")
def implementation(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The implementation under test; who it is, and its figures, go beside the results."""
    from coreml_assay.conformance.memory import extra_memory_ratio
    from coreml_assay.implementations import ImplementationError, load_implementation

    try:
        loaded = load_implementation(request.config.getoption("--implementation"))
    except ImplementationError as error:
        if _results_file is not None:
            write_tested(_results_file, Tested(error=str(error)))
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    who = Tested(implementation=loaded.name, version=loaded.version)
    if _results_file is not None:
        write_tested(_results_file, who)
    yield loaded
    if _results_file is not None and request.config.getoption("--assay-figures"):
        figures = extra_memory_ratio(loaded)
        write_tested(_results_file, msgspec.structs.replace(who, metrics=figures))


@pytest.fixture
def tensor_subject(request: pytest.FixtureRequest, implementation: Any) -> Any:
    """The implementation's tensor face; unsupported if it has none."""
    return _subject(request, implementation, "tensor")


@pytest.fixture
def coreml_subject(request: pytest.FixtureRequest, implementation: Any) -> Any:
    """The implementation's Core ML face; unsupported if it has none."""
    return _subject(request, implementation, "coreml")


@pytest.fixture
def torch_subject(request: pytest.FixtureRequest, implementation: Any) -> Any:
    """The implementation's torch face; unsupported if it has none, or torch is not installed."""
    return _subject(request, implementation, "torch")


def _subject(request: pytest.FixtureRequest, implementation: Any, face: str) -> Any:
    from coreml_assay.conformance.subject import Subject
    from coreml_assay.implementations import Face, Unsupported, faces

    if Face(face) not in faces(implementation):
        why = ", or torch is not installed" if face == "torch" else ""
        raise Unsupported(f"{implementation.name} has no {face} face{why}")
    loaded_as = request.config.getoption("--implementation")
    return Subject(implementation, loaded_as, clauses_of(request.node))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Let properties pass over what the implementation does not offer."""
    if not _is_check(item):
        return (yield)
    from coreml_assay.conformance.offered import passing_over

    with passing_over(getattr(item, "obj", None)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give a check's report its outcome and a short text, in place of a traceback."""
    decides = call.when == "call" or (call.when == "setup" and call.excinfo is not None)
    if not (decides and _is_check(item)):
        return (yield)
    result = _judge(item, call)
    with _without_traceback(call):
        report = yield
    report.user_properties.append((_RESULT, msgspec.json.encode(result).decode()))
    if result.outcome is Outcome.PASS:
        return report
    if result.outcome in (Outcome.FAIL, Outcome.FIXED):
        report.outcome = "failed"
        report.longrepr = result.detail
    else:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"{result.outcome.value}: {_headline(result)}")
    return report


@contextmanager
def _without_traceback(call: pytest.CallInfo[None]) -> Iterator[None]:
    """Spare pytest the rendering of a traceback, which costs more than most checks."""
    raised = call.excinfo
    if raised is not None:
        bare = pytest.fail.Exception(pytrace=False).with_traceback(raised.tb)
        call.excinfo = pytest.ExceptionInfo.from_exception(bare)
    try:
        yield
    finally:
        call.excinfo = raised


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append a check's result to the results file."""
    for key, value in report.user_properties:
        if key == _RESULT and _results_file is not None:
            append_result(_results_file, str(value))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down what there is to check, so that what a crash left undone has a name."""
    if _results_file is not None:
        write_planned(_results_file, [_unjudged(item) for item in session.items if _is_check(item)])


_results_file: Path | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember where results go; with workers, only the controller writes."""
    global _results_file
    is_worker = hasattr(session.config, "workerinput")
    _results_file = None if is_worker else session.config.getoption("--assay-results")
    if _results_file is not None:
        end_with_parent()


def _is_check(item: pytest.Item) -> bool:
    return _SUITE in item.path.parents


def _judge(item: pytest.Item, call: pytest.CallInfo[None]) -> CheckResult:
    from coreml_assay.conformance.registry import expected_failure
    from coreml_assay.conformance.subject import Nonconformance, NotMeasured
    from coreml_assay.implementations import Implementation, Unsupported

    funcargs: dict[str, Any] = getattr(item, "funcargs", {})
    implementation = cast(Implementation, funcargs.get("implementation"))
    check = check_name(item)
    error = call.excinfo.value if call.excinfo is not None else None
    listed = expected_failure(check, implementation.name, implementation.version)
    if isinstance(error, Unsupported):
        outcome, detail = Outcome.UNSUPPORTED, str(error)
    elif isinstance(error, NotMeasured):
        outcome, detail = Outcome.NOT_MEASURED, str(error)
    elif isinstance(error, Nonconformance) and listed and listed.decision == "absent":
        outcome, detail = Outcome.UNSUPPORTED, f"{listed.title} ({listed.id})"
    elif isinstance(error, Nonconformance):
        outcome, detail = (Outcome.DEVIATION if listed else Outcome.FAIL), str(error)
    elif error is not None:
        outcome, detail = Outcome.FAIL, f"the check itself fails: {type(error).__name__}: {error}"
    elif listed:
        outcome = Outcome.FIXED
        detail = f"passes, but the registry lists it under {listed.id!r}: correct the registry"
    else:
        outcome, detail = Outcome.PASS, ""
    shows_deviation = outcome in (Outcome.DEVIATION, Outcome.FIXED) and listed is not None
    return msgspec.structs.replace(
        _unjudged(item),
        outcome=outcome,
        detail=_ADDRESS.sub("at an address", _TEMPORARY.sub("a temporary path", detail)),
        deviation=listed.id if shows_deviation and listed else None,
    )


def _unjudged(item: pytest.Item) -> CheckResult:
    """A check before it ran."""
    kind = cast(
        Literal["property", "golden", "recipe"], _KINDS[item.path.relative_to(_SUITE).parts[0]]
    )
    return CheckResult(
        check=check_name(item),
        kind=kind,
        clauses=clauses_of(item),
        outcome=Outcome.NOT_MEASURED,
    )


def _headline(result: CheckResult) -> str:
    reason = f" ({result.deviation})" if result.deviation else ""
    return result.detail.split("\n", 1)[0] + reason
