"""Statistics of times until something happened, some of which were cut off first: a fuzzer that ran out of time."""

import math
from typing import NamedTuple


class Trial(NamedTuple):
    """`time` until it happened, or until nobody waited any longer."""
    time: float
    happened: bool


def survival(trials):
    """Kaplan and Meier's estimate: (time, share of trials in which it has not happened by then), a step at each time."""
    curve, share, left = [(0.0, 1.0)], 1.0, len(trials)
    for time in sorted({trial.time for trial in trials}):
        now = [trial for trial in trials if trial.time == time]
        happened = sum(trial.happened for trial in now)
        if happened:
            share *= 1 - happened / left
            curve.append((time, share))
        left -= len(now)
    return curve


def restricted_mean(trials, limit):
    """The mean time until it happened, where whoever waited `limit` stops counting: the area under the curve."""
    curve = survival(trials)
    area = 0.0
    for (time, share), (until, _) in zip(curve, [*curve[1:], (limit, 0.0)]):
        area += share * (min(until, limit) - min(time, limit))
    return area


def a12(first, second):
    """Vargha and Delaney's effect size: how probably a trial of the first takes longer than one of the second."""
    above = sum((a > b) + 0.5 * (a == b) for a in first for b in second)
    return above / (len(first) * len(second))


def mann_whitney(first, second):
    """The two-sided p-value that both come from one distribution: the normal approximation, corrected for ties."""
    both = sorted([*first, *second])
    ranks, ties, begin = {}, 0, 0
    while begin < len(both):
        end = begin
        while end < len(both) and both[end] == both[begin]:
            end += 1
        ranks[both[begin]] = (begin + 1 + end) / 2
        ties += (end - begin) ** 3 - (end - begin)
        begin = end
    n, m = len(first), len(second)
    total = n + m
    u = sum(ranks[value] for value in first) - n * (n + 1) / 2
    spread = math.sqrt(n * m / 12 * (total + 1 - ties / (total * (total - 1))))
    if spread == 0:
        return 1.0
    z = max(0.0, abs(u - n * m / 2) - 0.5) / spread
    return math.erfc(z / math.sqrt(2))
