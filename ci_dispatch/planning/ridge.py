"""Ridge regression for groups of rows with an unknown level each: Hoerl and Kennard (1970), solved in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RidgeRow(NamedTuple):
    """One measurement: `value` is its group's level, the effect of its column, and `amount` times the last effect."""

    column: int
    amount: float
    value: float


class Ridge:
    """Normal equations for the effects of columns and of one amount that rows have; levels of groups are eliminated."""

    def __init__(self, prior: Sequence[float], spreads: Sequence[float]) -> None:
        """Each effect's value while nothing is known, and its standard deviation; the amount's comes last."""
        size = len(prior)
        self._normal = [[0.0] * size for _ in range(size)]
        for number, spread in enumerate(spreads):
            self._normal[number][number] = spread**-2
        self._right = [value * spread**-2 for value, spread in zip(prior, spreads, strict=True)]

    def add(self, rows: Sequence[RidgeRow], weights: Sequence[float]) -> None:
        """The rows of one group; a weight is one over a row's variance."""
        pairs = list(zip(weights, rows, strict=True))
        total = sum(weights)
        middle = sum(w * row.value for w, row in pairs) / total
        usual = sum(w * row.amount for w, row in pairs) / total
        for w, row in pairs:
            amount, value = row.amount - usual, row.value - middle
            self._normal[row.column][row.column] += w
            self._normal[row.column][-1] += w * amount
            self._normal[-1][row.column] += w * amount
            self._normal[-1][-1] += w * amount**2
            self._right[row.column] += w * value
            self._right[-1] += w * amount * value
            for other_w, other in pairs:
                self._normal[row.column][other.column] -= w * other_w / total

    def solve(self) -> tuple[list[float], list[list[float]]]:
        """The effects, and the covariances of their errors."""
        inverse = _inverse(self._normal)
        return [sum(a * b for a, b in zip(row, self._right, strict=True)) for row in inverse], inverse


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of a symmetric positive definite matrix, by Gauss and Jordan; those need no pivoting."""
    size = len(matrix)
    work = [[*row, *[float(n == number) for n in range(size)]] for number, row in enumerate(matrix)]
    for column in range(size):
        pivot = work[column][column]
        own = work[column] = [value / pivot for value in work[column]]
        for row in range(size):
            factor = work[row][column]
            if row != column and factor:
                work[row] = [value - factor * other for value, other in zip(work[row], own, strict=True)]
    return [row[size:] for row in work]
