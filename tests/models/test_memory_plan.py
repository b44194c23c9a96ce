"""The plan within a budget: the best of all choices, and never above the budget."""

import itertools
import random

from spikevrt.models.memory_plan import all_kept, cheapest, choice_of, smallest
from spikevrt.models.segment_costs import Traced
from spikevrt.models.segment_runs import Cost, Work
from spikevrt.models.segments import Way


def drawn_segments(seed, count=7):
    """Segments whose ways keep less and work more."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        kept = sorted((draw.randrange(1, 40) for _ in range(3)), reverse=True)
        again = sorted(draw.randrange(20) for _ in range(2))
        costs = [
            Cost(way, k, k + draw.randrange(30), k + draw.randrange(30), a, a)
            for way, k, a in zip((Way.KEEP, Way.PROJECT, Way.AGAIN), kept, (0, *again), strict=True)
        ]
        found.append(Traced(f"segment {number}", tuple(costs[: draw.randrange(1, 4)]), Work(10), Work(20)))
    return found


def test_it_is_the_best_of_all_choices():
    for seed in range(20):
        segments = drawn_segments(seed)
        every = [choice_of(segments, costs) for costs in itertools.product(*(one.costs for one in segments))]
        least = min(choice.peak for choice in every)
        assert smallest(segments).peak == least
        for budget in range(least - 1, all_kept(segments).peak + 2, 3):
            fitting = [choice.again for choice in every if choice.peak <= budget]
            found = cheapest(segments, budget)
            assert (found is None) == (not fitting)
            if found is not None:
                assert found.peak <= budget
                assert found.again == min(fitting)


def test_work_falls_as_the_budget_grows_to_none():
    segments = drawn_segments(3, 60)
    least, most = smallest(segments).peak, all_kept(segments).peak
    budgets = [least + (most - least) * i // 10 for i in range(11)]
    work = [cheapest(segments, budget).again for budget in budgets]
    assert work == sorted(work, reverse=True)
    assert work[-1] == 0
