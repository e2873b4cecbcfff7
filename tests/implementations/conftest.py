"""What tests of the command protocol share."""

from __future__ import annotations

import pytest
from command_programs import compiled


@pytest.fixture(scope="session")
def plain_c(tmp_path_factory):
    """The example in C, built."""
    return compiled(tmp_path_factory.mktemp("plain_c"))
