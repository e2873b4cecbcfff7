"""The order in which the columns of a weight are rounded and compensated.

Columns are halved again and again; the left half is rounded first, and its errors are then made
good in the right half by one matrix product. So most of the work is in large products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

_GROUP = 32  # columns


@attrs.frozen
class Enter:
    """Choose the scale of the block of columns start to stop, which is up to date."""

    start: int
    stop: int


@attrs.frozen
class Round:
    """Round the columns start to stop, one by one."""

    start: int
    stop: int


@attrs.frozen
class Compensate:
    """Make good in columns middle to stop the errors of columns start to middle."""

    start: int
    middle: int
    stop: int


Step = Enter | Round | Compensate


def plan(columns: int, group: int, block: int | None) -> list[Step]:
    """The steps that round all columns.

    Args:
        columns: how many there are.
        group: how many are rounded one by one, at most; no more than 32 ever are, since products
            are faster.
        block: how many share a scale that is chosen on entry; None where scales are known.
    """
    group = min(group, _GROUP)
    if block is None:
        return list(_halve(_edges(0, columns, group), _round))
    entered = _edges(0, columns, block)
    return list(_halve(entered, lambda start, stop: _enter(start, stop, group)))


def _edges(start: int, stop: int, size: int) -> list[int]:
    return [*range(start, stop, size), stop]


def _round(start: int, stop: int) -> Iterator[Step]:
    yield Round(start, stop)


def _enter(start: int, stop: int, group: int) -> Iterator[Step]:
    yield Enter(start, stop)
    yield from _halve(_edges(start, stop, group), _round)


def _halve(edges: list[int], visit: Callable[[int, int], Iterator[Step]]) -> Iterator[Step]:
    """Visit the intervals between edges, each one compensated for all before it."""
    if len(edges) == 2:
        yield from visit(edges[0], edges[1])
        return
    middle = len(edges) // 2
    yield from _halve(edges[: middle + 1], visit)
    yield Compensate(edges[0], edges[middle], edges[-1])
    yield from _halve(edges[middle:], visit)
