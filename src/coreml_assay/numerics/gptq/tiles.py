"""A symmetric matrix cut into parts for matrix products: squares as large as they can be."""

from __future__ import annotations

from collections.abc import Iterator

_LARGEST = 512  # rows and columns of a part, so that several threads have something to do


def lower_tiles(columns: int, smallest: int) -> list[tuple[slice, slice]]:
    """Parts that cover the lower triangle once, and of the upper one little; the largest first.

    Args:
        columns: of the matrix, which is square.
        smallest: rows and columns of a part on the diagonal, at most.

    Returns:
        Rows and columns of each part.
    """
    tiles = list(_lower(0, columns, smallest))
    return sorted(tiles, key=_size, reverse=True)


def _lower(start: int, stop: int, smallest: int) -> Iterator[tuple[slice, slice]]:
    if stop - start <= smallest:
        yield slice(start, stop), slice(start, stop)
        return
    middle = halfway(start, stop, smallest)
    yield from _lower(start, middle, smallest)
    yield from _lower(middle, stop, smallest)
    for row in range(middle, stop, _LARGEST):
        for column in range(start, middle, _LARGEST):
            rows = slice(row, min(row + _LARGEST, stop))
            yield rows, slice(column, min(column + _LARGEST, middle))


def halfway(start: int, stop: int, unit: int) -> int:
    """Where to cut an interval in two, the first half a multiple of ``unit`` and not empty."""
    return start + unit * max(1, (stop - start) // (2 * unit))


def _size(tile: tuple[slice, slice]) -> int:
    rows, columns = tile
    return int((rows.stop - rows.start) * (columns.stop - columns.start))
