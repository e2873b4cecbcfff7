"""Folders that are made once: prepared, collected by the evaluator and on the pretended Mac."""

from __future__ import annotations

import pytest
import torch
from latency_factories import PretendedMac, collected, make_prepared


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("latency"))


@pytest.fixture(scope="session")
def on_a_mac(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mac") / "collected"
    collected(prepared, folder, PretendedMac)
    return folder


@pytest.fixture(scope="session")
def evaluated(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "collected"
    collected(prepared, folder)
    return folder


@pytest.fixture(autouse=True)
def threads():
    """The evaluator's backend sets the number of threads; other tests have theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
