"""Properties over implementations that offer only some of what the properties draw.

An input that an implementation does not offer is passed over, and the property holds or fails on
the others. If none of the first inputs is offered, the check ends as unsupported.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
import pytest
from hypothesis.errors import Unsatisfiable, UnsatisfiedAssumption

from coreml_assay.implementations import Unsupported

_REFUSALS = 50
"""After so many inputs with none that is offered no more are drawn. Three in ten weights are cut
per tensor or per channel; where these are offered, 50 others in a row come once in 10**7 runs."""


@contextmanager
def passing_over(check: Any) -> Iterator[None]:
    """A block in which a property passes over inputs that are not offered; others run as ever.

    Raises:
        Unsupported: none was offered.
    """
    property_ = getattr(check, "hypothesis", None)
    if property_ is None:
        yield
        return
    inner, any_offered, answer = property_.inner_test, False, ""
    refusals = 0

    @functools.wraps(inner)
    def on_one_input(*args: Any, **kwargs: Any) -> None:
        nonlocal any_offered, answer, refusals
        try:
            inner(*args, **kwargs)
        except Unsupported as unsupported:
            answer, refusals = str(unsupported), refusals + 1
            if refusals >= _REFUSALS and not any_offered:
                pytest.skip(answer)  # what ends a property at once, without shrinking
            hypothesis.reject()
        except UnsatisfiedAssumption:
            raise  # by the property itself, which says nothing of what is offered
        except Exception:
            any_offered = True
            raise
        any_offered = True

    property_.inner_test = on_one_input
    try:
        yield
    except (Unsatisfiable, pytest.skip.Exception):
        if not answer:
            raise
        raise Unsupported(answer) from None
    finally:
        property_.inner_test = inner
