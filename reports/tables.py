"""HTML tables and text of the page: escaping, cells with a range under the figure, verdicts."""

from html import escape

import human


class Html(str):
    """Text that is HTML already."""


def html(value):
    return value if isinstance(value, Html) else Html(escape(str(value), quote=False))


def attribute(value):
    """Text inside an attribute's double quotes."""
    return escape(str(value), quote=True)


def paragraph(text, css=""):
    return Html(f"<p{_css(css)}>{html(text)}</p>")


def missing(text):
    return paragraph(text, "missing")


def items(texts):
    return Html("<ul>" + "".join(f"<li>{html(text)}</li>" for text in texts) + "</ul>")


def table(headers, rows, texts=1):
    """A table in a container that scrolls, so that the page need not; the first `texts` columns are left-aligned."""
    head = "".join(f'<th scope="col"{_css("" if i < texts else "number")}>{html(name)}</th>'
                   for i, name in enumerate(headers))
    body = "".join("<tr>" + "".join(_cell(i, value, texts) for i, value in enumerate(row)) + "</tr>\n" for row in rows)
    return Html(f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
                f'<tbody>{body}</tbody></table></div>')


def _cell(index, value, texts):
    if index == 0:
        return f'<th scope="row">{html(value)}</th>'
    return f'<td{_css("" if index < texts else "number")}>{html(value)}</td>'


def _css(name):
    return f' class="{name}"' if name else ""


def with_range(estimate, shown=human.time):
    """A median, and under it its 95 % interval, or with "…" minimum to maximum where there are too few for one."""
    if estimate is None:
        return "–"
    between = human.span(estimate.low, estimate.high, shown, "–" if estimate.interval else "…")
    return small(shown(estimate.mid), between)


def small(text, below):
    return Html(f"{html(text)}<small>{html(below)}</small>")


def range_kind(estimates):
    """What the small figures of a table are, in words."""
    kinds = {estimate.interval for estimate in estimates if estimate is not None}
    if not kinds:
        return ""
    interval = "Small figures with a dash are the median's 95 % confidence interval"
    few = "figures with “…” are minimum to maximum, as fewer than six repetitions allow no 95 % interval"
    if kinds == {True}:
        return interval + "."
    return (interval + "; " + few if len(kinds) == 2 else "Small " + few) + "."


def verdict(mark, text):
    """mark: good, bad, unsure or expected."""
    return Html(f'<span class="{mark}">{html(text)}</span>')


def verdict_of(estimate, low, high):
    """Whether a median lies in low..high, and whether its range leaves that open."""
    inside = low <= estimate.mid <= high
    whole = low <= estimate.low and estimate.high <= high
    outside = estimate.high < low or estimate.low > high
    if inside:
        return "met" if whole else "met, within noise"
    return "not met" if outside else "not met, within noise"


def judged(estimate, low, high):
    text = verdict_of(estimate, low, high)
    return verdict({"met": "good", "not met": "bad"}.get(text, "unsure"), text)
