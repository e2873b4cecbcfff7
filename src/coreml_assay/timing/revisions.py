"""Revisions of this package out of a git repository: exported, and their kernels built."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

from coreml_assay.timing.sides import Side, TimingError


def export(repository: Path, before: str, after: str, folder: Path) -> tuple[Side, Side]:
    """Put two revisions into folders of their own, with their kernels built.

    The repository's own working tree and index are left alone.

    Args:
        repository: a folder inside a git working tree.
        before: anything that names a commit.
        after: the same.
        folder: where to; each commit gets a subfolder.

    Returns:
        The reference implementation of each.

    Raises:
        TimingError: there is no such revision, it holds no coreml_assay, or it cannot be built.
    """
    commits = {revision: _commit(repository, revision) for revision in (before, after)}
    for revision, commit in commits.items():
        root = folder / commit
        if not root.exists():
            _unpack(repository, commit, root)
            _build(root, revision)

    def side(revision: str) -> Side:
        source = (folder / commits[revision]).resolve() / "src"
        return Side(revision, "reference", source, commits[revision])

    return side(before), side(after)


def _commit(repository: Path, revision: str) -> str:
    # Options end where it says so: a revision is never read as one.
    found = _git(
        repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    if found is None:
        raise TimingError(f"{revision}: no such revision in {repository.resolve()}")
    return found.decode().strip()


def _unpack(repository: Path, commit: str, root: Path) -> None:
    top = _git(repository, "rev-parse", "--show-toplevel")
    if top is None:
        raise TimingError(f"{repository}: not a git working tree")
    archive = _git(Path(top.decode().strip()), "archive", "--format=tar", commit)
    if archive is None:
        raise TimingError(f"{commit}: git cannot export it")
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        content.extractall(root, filter="data")
    if not (root / "src/coreml_assay/__init__.py").exists():
        raise TimingError(f"{commit}: it holds no src/coreml_assay")


def _build(root: Path, revision: str) -> None:
    if not (root / "setup.py").exists():
        return  # from before there were kernels
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        last = built.stderr.strip().rpartition("\n")[2] or "no message"
        raise TimingError(f"{revision}: its kernels cannot be built: {last}")


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git prints, or None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise TimingError("comparing revisions needs git") from error
    return done.stdout if done.returncode == 0 else None
