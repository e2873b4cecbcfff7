"""The one way files and packages are written: to a temporary name, then moved into place.

Whoever reads the final name finds the old content or the new, never half of either.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: the disk is full, or the folder cannot be written; ``path`` is then as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp, whose files nobody else may read.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            fresh.unlink()
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``path`` when the block ends well.

    If the block raises (Ctrl-C included), the new folder is removed and ``path`` is as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    fresh, previous = holder / path.name, holder / "previous" / path.name
    fresh.mkdir()
    previous.parent.mkdir()
    try:
        yield fresh
        if path.exists():
            path.replace(previous)
        fresh.replace(path)
    finally:
        # The old folder had made way, and then the new one could not take its place.
        if previous.exists() and not path.exists():
            previous.replace(path)
        shutil.rmtree(holder, ignore_errors=True)
