"""A logistic regression by Newton's method, and how well its probabilities hold: pure numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

Row = tuple[float, ...]

RIDGE = 1e-5
"""Times the number of rows: a little pull towards zero, so that separable data have an answer."""
STEPS = 25
CLOSE = 1e-8
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """People whose probability was about the same, and what became of them."""

    people: int
    predicted: float
    happened: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """How probabilities did on people the model never saw."""

    people: int
    happened: int
    auc: float
    """The chance that one to whom it happened had the higher probability; 0.5: no idea."""
    brier: float
    """Mean squared error; the lower the better."""
    brier_of_rate: float
    """The same, of giving everybody the share of the people it was trained on."""
    bins: list[Bin]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def fit(rows: Sequence[Row], labels: Sequence[int]) -> list[float]:
    """Return the constant and one coefficient per column, of the most likely logistic model.

    Columns are centred and scaled for it; the answer is for rows as they are.

    >>> rows = [(float(x),) for x in range(10)]
    >>> constant, slope = fit(rows, [0, 0, 0, 1, 0, 1, 0, 1, 1, 1])
    >>> slope > 0, round(-constant / slope, 6)
    (True, 4.5)
    """
    columns = list(zip(*rows, strict=True))
    means = [math.fsum(column) / len(rows) for column in columns]
    scales = [
        math.sqrt(math.fsum((x - mean) ** 2 for x in column) / len(rows)) or 1.0
        for column, mean in zip(columns, means, strict=True)
    ]
    scaled = [
        (1.0, *((x - m) / s for x, m, s in zip(row, means, scales, strict=True))) for row in rows
    ]
    weights = [0.0] * (len(columns) + 1)
    for _ in range(STEPS):
        step = _newton(scaled, labels, weights)
        weights = [w + d for w, d in zip(weights, step, strict=True)]
        if max(map(abs, step)) < CLOSE:
            break
    slopes = [w / s for w, s in zip(weights[1:], scales, strict=True)]
    shift = math.fsum(slope * mean for slope, mean in zip(slopes, means, strict=True))
    return [round(weights[0] - shift, 12), *(round(slope, 12) for slope in slopes)]


def _newton(rows: Sequence[Row], labels: Sequence[int], weights: Sequence[float]) -> list[float]:
    size = len(weights)
    pull = RIDGE * len(rows)
    gradient = [0.0] + [-pull * w for w in weights[1:]]
    curve = [[pull if i == j and i else 0.0 for j in range(size)] for i in range(size)]
    for row, label in zip(rows, labels, strict=True):
        p = probability(weights, row)
        error, spread = label - p, p * (1 - p)
        for i, x in enumerate(row):
            gradient[i] += error * x
            scaled = spread * x
            line = curve[i]
            for j in range(i + 1):
                line[j] += scaled * row[j]
    for i in range(size):
        for j in range(i):
            curve[j][i] = curve[i][j]
    return solve(curve, gradient)


def probability(weights: Sequence[float], row: Row) -> float:
    """Return the probability for a row that begins with 1.

    >>> probability([0.0, 1.0], (1.0, 0.0))
    0.5
    """
    z = sum(w * x for w, x in zip(weights, row, strict=True))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Return x of matrix · x = right, by Gauss with pivots.

    >>> solve([[2.0, 0.0], [1.0, 1.0]], [4.0, 5.0])
    [2.0, 3.0]
    """
    size = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in range(i + 1, size):
            factor = rows[k][i] / rows[i][i]
            rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    found = [0.0] * size
    for i in reversed(range(size)):
        rest = sum(rows[i][k] * found[k] for k in range(i + 1, size))
        found[i] = (rows[i][size] - rest) / rows[i][i]
    return found


def measure(chances: Sequence[float], labels: Sequence[int], rate: float) -> Metrics:
    """Return how probabilities compare with what happened; `rate`: what was usual before.

    >>> found = measure([0.1, 0.9, 0.2, 0.8], [0, 1, 0, 1], rate=0.5)
    >>> found.auc, round(found.brier, 3), found.brier_of_rate
    (1.0, 0.025, 0.25)
    """
    pairs = sorted(zip(chances, labels, strict=True))
    return Metrics(
        people=len(pairs),
        happened=sum(labels),
        auc=_auc(pairs),
        brier=_mean([(chance - label) ** 2 for chance, label in pairs]),
        brier_of_rate=_mean([(rate - label) ** 2 for label in labels]),
        bins=_bins(pairs),
    )


def _auc(pairs: Sequence[tuple[float, int]]) -> float:
    """By ranks (Mann-Whitney); equal chances share theirs. 0.5 where there is nothing to tell."""
    ranks = 0.0
    start = 0
    while start < len(pairs):
        end = start
        while end < len(pairs) and pairs[end][0] == pairs[start][0]:
            end += 1
        ranks += (start + 1 + end) / 2 * sum(label for _, label in pairs[start:end])
        start = end
    yes = sum(label for _, label in pairs)
    no = len(pairs) - yes
    return (ranks - yes * (yes + 1) / 2) / (yes * no) if yes and no else 0.5


def _bins(pairs: Sequence[tuple[float, int]]) -> list[Bin]:
    """As many people in each, from the least likely on."""
    edges = [round(len(pairs) * n / BINS) for n in range(BINS + 1)]
    groups = [pairs[a:b] for a, b in pairwise(edges) if b > a]
    return [
        Bin(len(group), _mean([chance for chance, _ in group]), _mean([yes for _, yes in group]))
        for group in groups
    ]


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else 0.0
