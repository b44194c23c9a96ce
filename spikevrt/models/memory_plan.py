"""Chooses the way of each segment: the least work again within a memory budget, exactly, by dynamic programming.

When a segment is in its forward or backward, all segments before it hold what they keep. So a choice of ways fits if
for each segment what those before it keep, plus its own peak, is within the budget.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikevrt.models.segment_costs import Traced
from spikevrt.models.segment_runs import Cost
from spikevrt.models.segments import Way

Bytes = NDArray[np.int64]
Join = Callable[[Bytes, Bytes, Cost], Bytes]
UNLIMITED = 2**62


class Choice(NamedTuple):
    """The way of each segment, and what that costs."""

    ways: tuple[Way, ...]
    peak: int
    """The most bytes that segments hold at a time."""
    again: int
    """Bytes that the backward pass moves to compute segments again."""
    holder: str
    """The label of the segment at the peak."""


class Front(NamedTuple):
    """Partial choices of which none is better than another in both numbers."""

    kept: Bytes
    """Ascending."""
    price: Bytes
    """Descending: bytes moved again, or the largest peak so far."""
    parent: Bytes
    """The partial choice of the segments before."""
    cost: Bytes
    """The number of the segment's cost."""


def cheapest(segments: Sequence[Traced], budget: int) -> Choice | None:
    """The choice of least work whose peak is at most `budget` bytes; None if there is none."""
    return best(segments, lambda price, peak, cost: price + cost.again, budget)


def smallest(segments: Sequence[Traced]) -> Choice:
    """The choice of the smallest peak."""
    found = best(segments, lambda price, peak, cost: np.maximum(price, peak), UNLIMITED)
    assert found is not None
    return found


def best(segments: Sequence[Traced], join: Join, budget: int) -> Choice | None:
    """The choice of the smallest price whose peak is at most `budget` bytes.

    Args:
        segments: in forward order.
        join: join(prices before, peaks in the segment, cost of the segment) -> prices after it.
        budget: in bytes.
    """
    zero = np.zeros(1, np.int64)
    fronts = [Front(zero, zero, zero, zero)]
    for segment in segments:
        last, parts = fronts[-1], []
        for number, cost in enumerate(segment.costs):
            peak = last.kept + cost.peak
            price = join(last.price, peak, cost)
            fits = np.flatnonzero(peak <= budget)
            parts.append(Front(last.kept[fits] + cost.kept, price[fits], fits, np.full(len(fits), number)))
        front = pruned(Front(*map(np.concatenate, zip(*parts, strict=True))))
        if not len(front.kept):
            return None
        fronts.append(front)
    return followed_back(segments, fronts)


def pruned(front: Front) -> Front:
    """Without the choices that another one beats or equals in both numbers."""
    order = np.lexsort((front.price, front.kept))
    price = front.price[order]
    lower = np.ones(len(order), bool)
    lower[1:] = price[1:] < np.minimum.accumulate(price)[:-1]
    return Front(*(column[order][lower] for column in front))


def followed_back(segments: Sequence[Traced], fronts: Sequence[Front]) -> Choice:
    """The choice whose price at the end is the smallest, which is the last of its front."""
    at, costs = len(fronts[-1].price) - 1, []
    for segment, front in zip(reversed(segments), reversed(fronts[1:]), strict=True):
        costs.append(segment.costs[front.cost[at]])
        at = front.parent[at]
    return choice_of(segments, costs[::-1])


def choice_of(segments: Sequence[Traced], costs: Sequence[Cost]) -> Choice:
    """What one cost of each segment sums up to."""
    kept = peak = 0
    holder = ""
    for segment, cost in zip(segments, costs, strict=True):
        if kept + cost.peak > peak:
            peak, holder = kept + cost.peak, segment.label
        kept += cost.kept
    return Choice(tuple(cost.way for cost in costs), peak, sum(cost.again for cost in costs), holder)


def all_kept(segments: Sequence[Traced]) -> Choice:
    """Nothing is computed again."""
    return choice_of(segments, [segment.costs[0] for segment in segments])
