"""Filing into asv: kept by its own discovery, shown by its own pages, under the right machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import msgspec
import pytest
from latency_factories import MAC

from coreml_assay.latency.filing import (
    PARAMETERS,
    QUANTILES,
    FilingError,
    file_results,
    machine_name,
    quantile_seconds,
)
from coreml_assay.latency.ingest import ingest

ROOT = Path(__file__).parents[2]
KNOWN = "crepe-tiny 0.2.0"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with nothing in it but the benchmark."""
    pytest.importorskip("asv")
    folder = tmp_path_factory.mktemp("repository")
    shutil.copy(ROOT / "asv.conf.json", folder)
    (folder / "benchmarks").mkdir()
    for name in ("__init__", "latency"):
        shutil.copy(ROOT / f"benchmarks/{name}.py", folder / "benchmarks")
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@example.com")
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "one")):
        subprocess.run([*git, *command], cwd=folder, check=True)
    asv(folder, "machine", "--yes")
    discover(folder)
    return folder


def asv(folder, *arguments):
    """Asv's command line; its answer for the machine stays in the folder, too."""
    subprocess.run(
        [sys.executable, "-m", "asv", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )


def discover(folder):
    asv(folder, "run", "--bench", "just-discover", "--set-commit-hash", "HEAD")


def of_model(results, name):
    return [
        msgspec.structs.replace(each, run=msgspec.structs.replace(each.run, model=name))
        for each in results
    ]


def filed_values(folder, machine, quantile):
    (path,) = (folder / ".asv/results" / machine).glob("*-coremltools9.0.json")
    values = json.loads(path.read_text())["results"][f"latency.Prediction.track_{quantile}"][0]
    found = dict(zip(product(*PARAMETERS.values()), values, strict=True))
    return {case: value for case, value in found.items() if value is not None}


@pytest.mark.slow
def test_figures_are_filed_kept_and_shown(repository, prepared, on_a_mac, evaluated):
    configuration = repository / "asv.conf.json"
    for folder in (on_a_mac, evaluated):
        _, results = ingest(prepared, folder)
        assert file_results(of_model(results, KNOWN), configuration, "HEAD") == []
    discover(repository)
    expected = {
        machine_name(results[0].device): {
            name: {
                (KNOWN, each.run.configuration, each.run.compute_units): quantile_seconds(
                    each.run, name
                )
                for each in results
            }
            for name in QUANTILES
        }
        for results in (ingest(prepared, folder)[1] for folder in (on_a_mac, evaluated))
    }
    assert expected.keys() == {"mac-Test1,1", "evaluator-no-device"}
    asv(repository, "publish", "--no-pull")
    index = json.loads((repository / ".asv/html/index.json").read_text())
    assert set(index["params"]["machine"]) == expected.keys()
    for machine, figures in expected.items():
        for name, values in figures.items():
            assert filed_values(repository, machine, name) == pytest.approx(values)
            (graph,) = (repository / ".asv/html/graphs").glob(
                f"**/machine-{machine}/**/latency.Prediction.track_{name}.json"
            )
            ((_, shown),) = json.loads(graph.read_text())
            shown = dict(zip(product(*PARAMETERS.values()), shown, strict=True))
            shown = {case: value for case, value in shown.items() if value is not None}
            assert shown == pytest.approx(values)


@pytest.mark.slow
def test_what_was_filed_before_stays(repository, prepared, evaluated):
    configuration = repository / "asv.conf.json"
    _, (first, second) = ingest(prepared, evaluated)
    file_results(of_model([first], "basic-pitch 0.4.0"), configuration, "HEAD")
    file_results(of_model([second], "basic-pitch 0.4.0"), configuration, "HEAD")
    found = filed_values(repository, "evaluator-no-device", "p50")
    mine = {case[1] for case in found if case[0] == "basic-pitch 0.4.0"}
    assert mine == {"as it is", "int8 per channel"}


@pytest.mark.slow
def test_cases_that_the_benchmark_does_not_have(repository, prepared, evaluated):
    _, results = ingest(prepared, evaluated)
    others = file_results(results, repository / "asv.conf.json", "HEAD")
    assert others == ["small, as it is, evaluator", "small, int8 per channel, evaluator"]


@pytest.mark.slow
def test_what_asv_would_not_keep_is_refused(repository, prepared, evaluated, tmp_path):
    configuration = repository / "asv.conf.json"
    results = of_model(ingest(prepared, evaluated)[1], KNOWN)
    with pytest.raises(FilingError, match="has no commit 'elsewhere'"):
        file_results(results, configuration, "elsewhere")
    with pytest.raises(FilingError, match=r"asv\.conf\.json"):
        file_results(results, tmp_path / "asv.conf.json", "HEAD")
    known = repository / ".asv/results/benchmarks.json"
    content = known.read_text()
    try:
        known.write_text(content.replace('"version": "1"', '"version": "0"'))
        with pytest.raises(FilingError, match="let it look: asv run --bench just-discover"):
            file_results(results, configuration, "HEAD")
    finally:
        known.write_text(content)


def test_names_of_machines():
    assert machine_name(MAC) == "mac-Test1,1"
    phone = msgspec.structs.replace(MAC, kind="iphone", name="Ann's ../ phone")
    assert machine_name(phone) == "iphone-Ann-s-..-phone"
