"""Overlays: installed whole or not at all, in front of what else is there, never mixed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from coreml_assay.cli import main
from coreml_assay.implementations import (
    ImplementationError,
    OverlayError,
    catalogue,
    environments,
    install,
    is_installed,
    load_implementation,
    loading,
    process_environment,
)
from implementations.overlay_helpers import entry


@pytest.fixture(autouse=True)
def entries(tmp_path, monkeypatch):
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path / "overlays"))
    (tmp_path / "wheels").mkdir()
    found = {f"sample-{version}": entry(tmp_path / "wheels", version) for version in ("1.0", "2.0")}
    for module in (environments, loading, sys.modules["coreml_assay.cli.implementations"]):
        monkeypatch.setattr(module, "catalogue", lambda: found)
    path = list(sys.path)
    yield found
    sys.path[:] = path
    sys.modules.pop("sample_quantizer", None)


def run(*arguments):
    return CliRunner().invoke(main, ["implementations", *arguments])


def test_importing_the_package_imports_no_implementation():
    code = "import sys, coreml_assay.implementations as i; i.available(); i.catalogue()"
    code += "; print([name for name in sys.modules if name.split('.')[0] == 'coremltools'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_catalogue_has_pinned_packages_and_names_of_its_own():
    for name, found in catalogue().items():
        assert name == found.name
        assert all("==" in package for package in found.packages), name
    own = {found.name for found in entry_points(group=loading.GROUP)}
    assert not own & catalogue().keys()


def test_one_that_is_not_installed_brings_the_command():
    with pytest.raises(ImplementationError, match="coreml-assay implementations install sample-1"):
        load_implementation("sample-1.0")


def test_an_installed_one_loads_in_this_process_and_a_second_does_not(entries):
    for each in entries.values():
        install(each)
    assert load_implementation("sample-1.0").version == "1.0"
    assert load_implementation("sample-1.0").version == "1.0"
    with pytest.raises(ImplementationError) as raised:
        load_implementation("sample-2.0")
    assert "another sample_quantizer already" in str(raised.value)
    assert f"PYTHONPATH={environments.overlay(entries['sample-2.0'])}" in str(raised.value)


def test_a_process_started_for_one_has_it_in_front(entries, tmp_path, monkeypatch):
    for each in entries.values():
        install(each)
    (tmp_path / "sample_quantizer.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    variables = process_environment("sample-2.0")
    code = "import sample_quantizer, importlib.metadata as m"
    code += "; print(sample_quantizer.Sample.version, m.version('sample_quantizer'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2.0", "2.0"]


def test_other_packages_than_the_catalogue_names_today_do_not_count(entries):
    install(entries["sample-1.0"])
    assert is_installed(entries["sample-1.0"])
    renamed = environments.overlay(entries["sample-2.0"])
    environments.overlay(entries["sample-1.0"]).rename(renamed)
    assert not is_installed(entries["sample-2.0"])


def test_pip_failing_is_one_line_and_leaves_what_was_there(entries):
    good = entries["sample-1.0"]
    install(good)
    bad = environments.Entry(good.name, good.adapter, ("no-such-file.whl",), good.about)
    with pytest.raises(OverlayError) as raised:
        install(bad)
    assert str(raised.value).startswith("sample-1.0: pip failed: ")
    assert "\n" not in str(raised.value)
    assert is_installed(good)
    assert [path.name for path in environments.environments_folder().iterdir()] == ["sample-1.0"]


def test_an_interrupted_installation_does_not_count(entries, monkeypatch):
    def interrupted(arguments, **_):
        folder = arguments[arguments.index("--target") + 1]
        (folder / "sample_quantizer.py").write_text("half = True")
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install(entries["sample-1.0"])
    assert not is_installed(entries["sample-1.0"])
    assert list(environments.environments_folder().iterdir()) == []


def test_the_command_lists_states_and_installs(entries):
    assert run("install", "sample-1.0").exit_code == 0
    listed = {line.split("  ")[0]: line for line in run().output.splitlines() if line}
    assert " installed " in listed["sample-1.0"]
    assert " not installed " in listed["sample-2.0"]
    assert "already installed" in run("install", "sample-1.0").output
    assert "installed" in run("install", "--all").output
    assert all(map(is_installed, entries.values()))


def test_one_that_cannot_be_installed_keeps_no_other_from_it(entries):
    bad = environments.Entry("sample-0", "sample_quantizer:Sample", ("no-such-file.whl",), "bad")
    good = dict(entries)
    entries.clear()
    entries.update({"sample-0": bad, **good})
    result = run("install", "--all")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0].startswith("sample-0: pip failed: ")
    assert result.stderr.splitlines()[-1] == ("error: 1 of 3 could not be installed: sample-0")
    assert all(map(is_installed, good.values()))


def test_the_command_refuses_names_it_does_not_know():
    result = run("install", "sample-1.1")
    assert result.exit_code == 2
    assert "did you mean 'sample-1.0'?" in result.stderr
    assert run("install").exit_code == 2
