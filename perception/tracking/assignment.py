"""The exact best matching of two sides, by how much each pair is worth.

Between one frame and the next nearly every track has one box that only it wants. Those pairs are found at
once in arrays; what is contended is solved by shortest augmenting paths over the pairs that exist, so that a
search never leaves the group of boxes that overlap each other.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

Gains = NDArray[np.float64]
Indexes = NDArray[np.intp]


def assign(gains: Gains) -> tuple[Indexes, Indexes]:
    """Match rows to columns such that the sum of gains is the greatest possible, and return the pairs.

    `gains` (R, C), finite; a pair of gain 0 or less is no pair, and nothing is forced to match. Returns row
    and column indexes, (M,) each, rows ascending. Equal input gives equal output, also where sums are equal.
    """
    match = np.full(gains.shape[0], -1, np.intp)  # each row's column
    if not gains.size:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    best = gains.max(axis=1)
    rows = np.flatnonzero(best > 0)
    favourites = gains[rows].argmax(axis=1)
    owner = np.empty(gains.shape[1], np.intp)
    keenest_last = np.argsort(best[rows], kind="stable")
    owner[favourites[keenest_last]] = rows[keenest_last]
    has_favourite = owner[favourites] == rows
    match[rows[has_favourite]] = favourites[has_favourite]
    if not has_favourite.all():
        _augment(gains, best, match, rows[~has_favourite])
    matched = np.flatnonzero(match >= 0)
    return matched, match[matched]


def _augment(gains: Gains, best: NDArray[np.float64], match: Indexes, waiting: Indexes) -> None:
    """Bring the `waiting` rows into `match` (R,), one by one, keeping it the best for the rows so far.

    Successive shortest paths (Jonker and Volgenant, Computing 38, 1987; the search is Dijkstra's). Prices
    prove that the matching is best: a row's and a column's together are never less than their gain, and equal
    to it for a matched pair; unmatched, a column's is 0, and so is a row's that has given up. Where rows have
    their favourites, the prices `best` and 0 prove it, and `match` begins as just that.
    """
    row_price: list[float] = best.tolist()
    column_price = [0.0] * gains.shape[1]
    row_of = {int(match[row]): int(row) for row in np.flatnonzero(match >= 0)}
    pairs: dict[int, list[tuple[int, float]]] = {}

    for start in waiting.tolist():
        # What a change would cost, against the prices: of taking a column, and of having come to a row.
        column_cost: dict[int, float] = {}
        settled: dict[int, float] = {}
        row_cost = {start: 0.0}
        taker: dict[int, int] = {}
        queue: list[tuple[float, bool, int]] = []  # cost, whether the column is taken, column
        row, cost = start, 0.0
        end_cost, end_column, gives_up = row_price[start], -1, start
        while True:
            if row not in pairs:
                wanted = np.flatnonzero(gains[row] > 0)
                pairs[row] = list(zip(wanted.tolist(), gains[row, wanted].tolist(), strict=True))
            for column, gain in pairs[row]:
                through = cost + row_price[row] + column_price[column] - gain
                if column not in settled and through < column_cost.get(column, end_cost):
                    column_cost[column], taker[column] = through, row
                    heappush(queue, (through, column in row_of, column))
            while queue and queue[0][2] in settled:
                heappop(queue)
            if not queue or queue[0][0] >= end_cost:
                break  # nothing is cheaper than that some row goes without
            cost, is_taken, column = heappop(queue)
            settled[column] = cost
            if not is_taken:
                end_cost, end_column = cost, column
                break
            row = row_of[column]
            row_cost[row] = cost
            if cost + row_price[row] < end_cost:
                end_cost, gives_up = cost + row_price[row], row

        for row, cost in row_cost.items():
            row_price[row] -= end_cost - cost
        for column, cost in settled.items():
            column_price[column] += end_cost - cost
        if end_column < 0:
            end_column = int(match[gives_up])  # -1 when it is `start` itself
            match[gives_up] = -1
        _shift(match, row_of, taker, end_column)


def _shift(match: Indexes, row_of: dict[int, int], taker: dict[int, int], column: int) -> None:
    """Let every row on the path take the column that it was found to take, from the last back to the first.

    `column` is the path's end; the first row had none (-1), which ends the loop.
    """
    while column >= 0:
        row = taker[column]
        left = int(match[row])
        match[row], row_of[column] = column, row
        column = left
