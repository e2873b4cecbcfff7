"""Whatever goes wrong while writing, the old content stays and nothing else is left behind."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from coreml_assay.files import replacing_folder, write_bytes

ERRORS = [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
errors = pytest.mark.parametrize("error", ERRORS, ids=["disk full", "Ctrl-C"])


def fill(path, error=None):
    with replacing_folder(path) as fresh:
        (fresh / "new").write_text("new")
        if error is not None:
            raise error


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_written_with_its_folders(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "file", b"content")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"content"
    assert listing(tmp_path) == ["a", "a/b", "a/b/file"]


@errors
@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, error, existed, where
):
    path = tmp_path / "file"
    if existed:
        path.write_bytes(b"old")

    def failing(*_):
        raise error

    monkeypatch.setattr(os if where == "fsync" else Path, where, failing)
    with pytest.raises(type(error)):
        write_bytes(path, b"new" * 1000)
    assert listing(tmp_path) == (["file"] if existed else [])
    assert not existed or path.read_bytes() == b"old"


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    # A limit on the size of files is the one full disk a test can have for itself.
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from coreml_assay.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_bytes(Path(sys.argv[1]), b'x' * 10_000_000)\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == errno.EFBIG
    assert listing(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_a_written_file_may_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        write_bytes(tmp_path / "file", b"content")
        with replacing_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755


@pytest.mark.parametrize("existed", [True, False])
def test_a_folder_takes_the_place_of_the_old_one_as_a_whole(tmp_path, existed):
    path = tmp_path / "folder"
    if existed:
        path.mkdir()
        (path / "old").write_text("old")
    with replacing_folder(path) as fresh:
        (fresh / "new").write_text("new")
        assert not (path / "new").exists()
    assert listing(tmp_path) == ["folder", "folder/new"]


@errors
@pytest.mark.parametrize("existed", [True, False])
def test_a_block_that_raises_leaves_the_old_folder_and_nothing_else(tmp_path, error, existed):
    path = tmp_path / "folder"
    if existed:
        path.mkdir()
        (path / "old").write_text("old")

    with pytest.raises(type(error)):
        fill(path, error)
    assert listing(tmp_path) == (["folder", "folder/old"] if existed else [])


@errors
@pytest.mark.parametrize("moved", [0, 1], ids=["before it moves", "after it has moved"])
def test_an_old_folder_is_never_lost(tmp_path, monkeypatch, error, moved):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    replace, calls = Path.replace, []

    def failing(self, target):
        calls.append(target)
        if len(calls) == 1 + moved:
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(type(error)):
        fill(path)
    assert listing(tmp_path) == ["folder", "folder/old"]
    assert (path / "old").read_text() == "old"


def test_a_file_in_the_way_of_a_folder_is_replaced_by_it(tmp_path):
    path = tmp_path / "name"
    path.write_text("a file")
    with replacing_folder(path) as fresh:
        (fresh / "new").write_text("new")
    assert listing(tmp_path) == ["name", "name/new"]
