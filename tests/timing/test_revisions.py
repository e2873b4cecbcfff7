"""Revisions out of a small repository, whose package is only what the worker asks of it."""

from __future__ import annotations

import subprocess

import pytest

from coreml_assay.timing.revisions import export
from coreml_assay.timing.sides import SideProcess, TimingError

FILES = {
    "src/coreml_assay/__init__.py": "",
    "src/coreml_assay/implementations.py": (
        "class Reference:\n    version = 'REVISION'\n\n"
        "def load_implementation(name):\n    return Reference()\n"
    ),
    "src/coreml_assay/numerics/__init__.py": "",
    "src/coreml_assay/numerics/native.py": "def active():\n    return 'none: a stub'\n",
}
IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]


def git(folder, *arguments):
    done = subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder, files, message):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("REVISION", message))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    commit(folder, FILES, "first")
    commit(folder, FILES, "second")
    return folder


def test_each_revision_runs_its_own_package(repository, tmp_path):
    (repository / "src/coreml_assay/implementations.py").write_text("broken, and not committed")
    sides = export(repository, "HEAD~1", "HEAD", tmp_path / "exported")
    for side, revision, expected in zip(
        sides, ("HEAD~1", "HEAD"), ("first", "second"), strict=True
    ):
        assert side.name == revision
        assert side.revision == git(repository, "rev-parse", revision)
        with SideProcess(side) as process:
            facts = process.facts()
        assert facts["version"] == expected
        assert facts["kernels"] == "none: a stub"


def test_the_working_tree_is_left_alone(repository, tmp_path):
    (repository / "new.txt").write_text("untracked")
    before = git(repository, "status", "--porcelain=v2", "--branch")
    export(repository / "src", "HEAD~1", "HEAD", tmp_path / "exported")
    assert git(repository, "status", "--porcelain=v2", "--branch") == before


def test_names_of_one_commit_share_its_folder(repository, tmp_path):
    one, other = export(repository, "HEAD", "@", tmp_path / "exported")
    assert one.source == other.source


def test_kernels_are_built(repository, tmp_path):
    commit(repository, {"setup.py": "open('built', 'w').close()"}, "third")
    _, side = export(repository, "HEAD~1", "HEAD", tmp_path / "exported")
    assert (side.source.parent / "built").exists()
    assert not (repository / "built").exists()


def test_kernels_that_cannot_be_built_are_an_error(repository, tmp_path):
    commit(repository, {"setup.py": "raise SystemExit('no compiler')"}, "third")
    with pytest.raises(TimingError, match="HEAD: its kernels cannot be built: no compiler"):
        export(repository, "HEAD~1", "HEAD", tmp_path / "exported")


@pytest.mark.parametrize("revision", ["no-such", "--version", "HEAD:src", ""])
def test_what_names_no_commit_is_an_error(repository, tmp_path, revision):
    with pytest.raises(TimingError, match="no such revision"):
        export(repository, "HEAD", revision, tmp_path / "exported")


def test_a_revision_without_the_package_is_an_error(repository, tmp_path):
    git(repository, "rm", "-rq", "src")
    commit(repository, {"other.txt": ""}, "gone")
    with pytest.raises(TimingError, match="holds no src/coreml_assay"):
        export(repository, "HEAD~1", "HEAD", tmp_path / "exported")


def test_a_folder_outside_any_repository_is_an_error(tmp_path):
    with pytest.raises(TimingError, match="no such revision"):
        export(tmp_path, "HEAD", "HEAD", tmp_path / "exported")


def test_the_package_at_hand_is_not_taken_for_the_revision(repository, tmp_path):
    git(repository, "rm", "-rq", "src/coreml_assay")
    commit(repository, {"src/coreml_assay/__init__.py": "import sys; sys.exit('no')"}, "third")
    _, side = export(repository, "HEAD~1", "HEAD", tmp_path / "exported")
    with SideProcess(side) as process, pytest.raises(TimingError):
        process.facts()
