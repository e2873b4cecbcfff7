"""A pytest plugin: what the tests that declare checks evaluate, written as JSON.

Whatever tests evaluate, unless it is random, is evaluated once more with every length of its inputs
left open, or the first alone, where coremltools' builder takes a program like that.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from pathlib import Path

import mil_helpers
import numpy as np
import pytest

from coreml_assay.mil import plan
from coreml_assay.mil.evaluator import Evaluator

RESULT = "OPERATIONS_WATCH"  # the environment variable that names the file

_evaluate = mil_helpers.evaluate


class Watch:
    """What was seen so far, and the checks that the running test declares."""

    def __init__(self):
        self.declared = set()
        self.evaluated = set()  # operation, what against, opset that defines it
        self.opened = Counter()  # operation to how often it ran with open lengths
        self.unequal = []  # tests whose results changed with open lengths
        self.running, self.test = [], ""

    def note(self, op):
        opset = type(op).__module__.split(".")[-2]
        self.evaluated |= {(o, a, opset) for o, a in self.running if o == op.op_type}

    def write(self, path):
        found = {
            "declared": sorted(self.declared),
            "evaluated": sorted(self.evaluated),
            "opened": dict(self.opened),
            "unequal": self.unequal,
        }
        Path(path).write_text(json.dumps(found))


WATCH = Watch()


def pytest_configure():
    mil_helpers.evaluate = evaluate
    plan._Planner._step = _noting(plan._Planner._step)
    plan._Planner._decompress = _noting(plan._Planner._decompress)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    WATCH.running = getattr(item.function, "checked_operations", [])
    WATCH.test = item.nodeid
    WATCH.declared.update(WATCH.running)
    return (yield)


def pytest_sessionfinish():
    WATCH.write(os.environ[RESULT])


def _noting(method):
    def noting(self, op, place):
        WATCH.note(op)
        return method(self, op, place)

    return noting


def evaluate(build, opset=mil_helpers.IOS17, flexible=None, precision=None, **inputs):
    """As the helper, and again with open lengths."""
    given = {} if precision is None else {"precision": precision}
    found = _evaluate(build, opset, flexible, **given, **inputs)
    program = open_program(build, opset, inputs)
    types = [] if program is None else [op.op_type for op in program.functions["main"].operations]
    if types and not any(op_type.startswith("random") for op_type in types):
        again = list(Evaluator(program, *given.values()).predict(inputs).values())
        expected = found if isinstance(found, list) else [found]
        if not all(map(_same, expected, again)):
            WATCH.unequal.append(WATCH.test)
        WATCH.opened.update(types)
    return found


def open_program(build, opset, inputs):
    """The program with open lengths, None where the builder refuses it."""
    every = {name: [None] * array.ndim for name, array in inputs.items() if array.ndim}
    first = {name: [None, *array.shape[1:]] for name, array in inputs.items() if array.ndim}
    for lengths in (every, first):
        with contextlib.suppress(Exception):  # whatever is raised where a length has to be known
            return mil_helpers.program(build, inputs, opset, lengths)
    return None


def _same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.asarray(a).tobytes() == b.tobytes()
