"""Numbers as people write them: 12.3 ms, 240 ns, 256 KiB, 1 Mi."""

import math


def digits(value, significant=3):
    """A number with so many significant digits, thousands apart: 1,230 or 0.0123."""
    if value == 0:
        return "0"
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
    rounded = float(f"{value:.{significant}g}")
    places = max(0, significant - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{places}f}"


def _scaled(value, units, base):
    """The value in the largest unit that leaves at least one whole; rounded first, so that 999.9 ns is 1.00 µs."""
    value = float(f"{value:.3g}")
    index = 0
    while index + 1 < len(units) and abs(value) >= base:
        value /= base
        index += 1
    return value, units[index]


def _short(value):
    return f"{value:.0f}" if value == int(value) and abs(value) < 1000 else digits(value)


def time(ns):
    if ns == 0:
        return "0 ns"
    if abs(ns) < 1000:
        value, unit = _scaled(ns, ("ns", "µs"), 1000)
        return f"{_short(value) if abs(value) >= 100 or value == int(value) else digits(value)} {unit}"
    value, unit = _scaled(ns, ("ns", "µs", "ms", "s"), 1000)
    return f"{digits(value)} {unit}"


def tick(ns):
    """A time at a graph's axis, where it is a round one."""
    value, unit = _scaled(ns, ("ns", "µs", "ms", "s"), 1000)
    return f"{value:g} {unit}"


def size(count):
    """Bytes in powers of 1024."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(count) >= scale:
            return f"{_short(count / scale)} {unit}"
    return f"{count:g} B"


def count(number):
    """Stacks: 1 Ki, 100 Ki, 1 Mi where it is a whole one, else 1,000."""
    for unit, scale in (("Mi", 2**20), ("Ki", 2**10)):
        if number >= scale and number % scale == 0:
            return f"{number // scale:g} {unit}"
    return f"{number:,.0f}"


def big(number):
    """Executions: 1.23 M."""
    if abs(number) < 10_000:
        return f"{number:,.0f}"
    value, unit = _scaled(number, ("", "k", "M", "G", "T"), 1000)
    return f"{digits(value)} {unit}"


def ratio(value):
    return f"{digits(value)}×"


def percent(share):
    return f"{digits(100 * share, 2)} %"


def span(low, high, shown, dash="–"):
    """Two ends with their common unit said once: 194 – 206 µs."""
    first, last = shown(low), shown(high)
    for unit in (" ns", " µs", " ms", " s", "×"):
        if first.endswith(unit) and last.endswith(unit):
            first = first.removesuffix(unit)
            break
    return f"{first} {'to' if low < 0 else dash} {last}"  # a dash after a minus reads badly


def seconds(value):
    if value < 120:
        return f"{digits(value, 2 if value < 10 else 3)} s"
    return f"{value / 60:.0f} min"
