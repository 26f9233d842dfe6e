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


def takes_longer(one, other):
    """1 if the trial `one` took longer, -1 if the other did; 0 where nobody can say: one was cut off before the other's time."""
    if one.time != other.time:
        shorter, sign = (other, 1) if one.time > other.time else (one, -1)
        return sign if shorter.happened else 0
    return other.happened - one.happened  # cut off when the other happened: it would have taken longer


def compared(first, second):
    """A12 of trials, and Gehan's generalisation of Mann and Whitney's p: a pair of which nobody can say who took longer counts
    half."""
    both = [*first, *second]
    scores = [sum(takes_longer(one, other) for other in both) for one in both]
    n, m = len(first), len(second)
    lead = sum(scores[:n])  # within the first the signs cancel
    spread = math.sqrt(n * m / ((n + m) * (n + m - 1)) * sum(score * score for score in scores)) if n + m > 1 else 0.0
    p = math.erfc(max(0.0, abs(lead) - 1) / spread / math.sqrt(2)) if spread else 1.0
    return (lead / (n * m) + 1) / 2, p


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
