"""Statistics of a report: medians with their intervals, ratios per pair, a line through points, latency histograms."""

import math
import random
from typing import NamedTuple

MIN_FOR_INTERVAL = 6  # below this, not even minimum to maximum holds the median with 95 %
Z_95 = 1.959964


class Estimate(NamedTuple):
    """A median; low and high are its 95 % confidence interval, or minimum and maximum where `interval` is False."""
    mid: float
    low: float
    high: float
    interval: bool
    count: int


class Line(NamedTuple):
    """The slope of a least-squares line with its 95 % confidence interval."""
    slope: float
    low: float
    high: float


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def estimate(values):
    """Median, and the order statistics that hold it with 95 % or more whatever the distribution; None if empty."""
    ordered = sorted(values)
    count = len(ordered)
    if count == 0:
        return None
    if count < MIN_FOR_INTERVAL:
        return Estimate(median(ordered), ordered[0], ordered[-1], False, count)
    rank = interval_rank(count)
    return Estimate(median(ordered), ordered[rank - 1], ordered[count - rank], True, count)


def exactly(value, count):
    """A count, not a sample: no more and no less."""
    return Estimate(value, value, value, True, count)


def interval_rank(count):
    """The largest k for which the k-th smallest to the k-th largest hold the median with at least 95 %."""
    rank, outside = 0, 0.0
    while True:
        outside += 2 * math.comb(count, rank) / 2.0**count
        if outside > 0.05:
            return max(1, rank)
        rank += 1


def ratios(numerators, denominators):
    """A ratio per pair, of pairs with a denominator."""
    return [a / b for a, b in zip(numerators, denominators) if b]


def bootstrap_ratio(numerators, denominators, resamples=1000):
    """The ratio of two medians with its 95 % percentile bootstrap interval; the same for the same values."""
    bottom = median(denominators)
    middle = median(numerators) / bottom if bottom else math.inf if median(numerators) else 1.0
    if bottom == 0:
        return Estimate(middle, middle, middle, False, len(denominators))
    chance = random.Random(1)
    drawn = []
    for _ in range(resamples):
        below = median(chance.choices(denominators, k=len(denominators)))
        if below:
            drawn.append(median(chance.choices(numerators, k=len(numerators))) / below)
    return Estimate(middle, percentile(drawn, 0.025), percentile(drawn, 0.975), True, min(len(numerators), len(denominators)))


def differences(first, second):
    return [a - b for a, b in zip(first, second)]


def percentile(values, q):
    """The q-quantile (0..1) of a list, between the two nearest values."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def student_95(freedom):
    """Student's t for a two-sided 95 %, by Cornish and Fisher's expansion: within 1 % from 3 degrees of freedom on."""
    z, v = Z_95, freedom
    return (z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3))


def fit_line(points):
    """A least-squares line through (x, y) points; None where there are too few points, or only one x."""
    count = len(points)
    if count < 5 or len({x for x, _ in points}) < 2:  # the mean of equal x may be off by a bit
        return None
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x)**2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = sum((y - mean_y - slope * (x - mean_x))**2 for x, y in points)
    error = math.sqrt(left / (count - 2) / spread) * student_95(count - 2)
    return Line(slope, slope - error, slope + error)


def histogram_quantile(histogram, q):
    """The upper end of the bucket that holds quantile q; None if the histogram is empty."""
    seen = 0
    for upper, count in histogram["buckets"]:
        seen += count
        if seen >= q * histogram["count"] and count:
            return min(upper, histogram["max"])
    return None


def histogram_estimate(histogram, q):
    """Quantile q with the 95 % interval of its rank, as if the samples were independent; None if there are none."""
    if not histogram["count"]:
        return None
    off = Z_95 * math.sqrt(q * (1 - q) / histogram["count"])
    low, mid, high = (histogram_quantile(histogram, place) for place in (max(0, q - off), q, min(1, q + off)))
    return Estimate(mid, low, high, True, histogram["count"])


def histogram_curve(histogram):
    """(share of samples at or below, value) for each bucket but the last."""
    curve, seen = [], 0
    for upper, count in histogram["buckets"]:
        seen += count
        if seen < histogram["count"]:
            curve.append((seen / histogram["count"], upper))
    return curve
