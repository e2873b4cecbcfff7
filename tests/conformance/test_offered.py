"""Properties pass over what is not offered, and say so when that is everything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreml_assay.conformance.offered import passing_over
from coreml_assay.implementations import Unsupported


def property_of(offered, holds):
    seen = []

    @settings(max_examples=30, database=None)
    @given(x=st.integers(0, 1000))
    def check(x):
        if not offered(x):
            raise Unsupported("only some numbers")
        seen.append(x)
        assert holds(x)

    return check, seen


def ending(check):
    """How a property ends; what pytest raises to skip a test must not skip this one."""
    try:
        with passing_over(check):
            check()
    except BaseException as error:
        return error
    return None


def test_a_property_holds_or_fails_on_what_is_offered():
    check, seen = property_of(lambda x: x % 2, lambda x: True)
    with passing_over(check):
        check()
    assert seen
    assert all(x % 2 for x in seen)
    check, _ = property_of(lambda x: x % 2, lambda x: x < 0)
    with pytest.raises(AssertionError), passing_over(check):
        check()


def test_with_nothing_offered_it_is_unsupported_and_stops_early():
    asked = []
    check, seen = property_of(lambda x: asked.append(x), lambda x: True)
    found = ending(check)
    assert isinstance(found, Unsupported)
    assert str(found) == "only some numbers"
    assert seen == []
    assert len(asked) == 50


def test_afterwards_a_check_is_as_it_was():
    check, _ = property_of(lambda x: False, lambda x: True)
    inner = check.hypothesis.inner_test
    assert isinstance(ending(check), Unsupported)
    assert check.hypothesis.inner_test is inner


def test_what_is_no_property_is_left_alone():
    with pytest.raises(Unsupported, match="at once"), passing_over(print):
        raise Unsupported("at once")
