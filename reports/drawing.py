"""How every graph looks, and how it becomes SVG and PNG.

A graph is drawn once, in one ink for text and axes that no line uses. In the SVG this ink becomes currentColor, so that
the page's (or, in a file of its own, the system's) light or dark mode colours it; in the PNG it is nearly black.
"""

import csv
import io
import math
import re
from typing import NamedTuple

import matplotlib
from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

import human

matplotlib.use("Agg")

INK = "#010203"
# Each at 3:1 or more on white and on the page's dark ground. Markers tell them apart where eyes don't.
PALETTE = ("#d1600f", "#2f7fc4", "#0f9170", "#a862b8", "#9c7a10", "#c2527d", "#6f7f8f", "#4f8a1f")
MARKERS = "osD^vPX*"
DASHES = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1.5, 1.5)))
GROUND = {"light": "#ffffff", "dark": "#15181c"}

matplotlib.rcParams.update({
    "font.size": 12, "axes.labelsize": 12.5, "xtick.labelsize": 11.5, "ytick.labelsize": 11.5, "legend.fontsize": 11.5,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": INK, "grid.alpha": 0.15, "grid.linewidth": 0.8, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "lines.linewidth": 1.8,
    "lines.markersize": 6.5, "svg.fonttype": "path", "svg.hashsalt": "stackdrain", "figure.facecolor": "none",
    "axes.facecolor": "none",
})

SERIES = "series:"

# Only in a file of its own: inside the page the page's style decides.
FILE_STYLE = ("<style>svg{color:#1b1f24;background:#fff}@media(prefers-color-scheme:dark)"
              "{svg{color:#e6e9ed;background:#15181c}}</style>")


class Style(NamedTuple):
    colour: str
    marker: str
    dash: object


def styles_of(names):
    """A style for each name: another colour and marker for each; once the colours are used up, another pairing of the
    two, and another dash."""
    return {name: Style(PALETTE[i % len(PALETTE)], MARKERS[(i + i // len(PALETTE)) % len(MARKERS)], DASHES[i // len(PALETTE) % len(DASHES)])
            for i, name in enumerate(names)}


def figure(height=4.2, panels=1, **options):
    fig, axes = pyplot.subplots(panels, 1, figsize=(7, height), **options)
    return fig, axes


def count_axis(axis, low, high):
    """Numbers of stacks on a log axis with powers of two as ticks."""
    axis.set_xscale("log", base=2)
    axis.set_xlim(low / 1.5, high * 1.5)
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    step = max(1, math.ceil(len(powers) / 9))
    axis.set_xticks([2**power for power in powers][::step])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human.count(round(value))))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("stacks drained in the cycle (n)")


def time_axis(axis, side="y"):
    """A log axis of times with 1 µs, 10 µs … as ticks."""
    getattr(axis, f"set_{side}scale")("log")
    one = getattr(axis, f"{side}axis")
    one.set_major_formatter(FuncFormatter(lambda value, _: human.tick(value)))
    one.set_minor_formatter(NullFormatter())


def legend_below(fig, handles, columns=2):
    """The legend under the axes: the figure grows by it, so that it never covers data."""
    rows = math.ceil(len(handles) / columns)
    height = fig.get_figheight()
    grown = height + 0.25 * rows
    fig.tight_layout()
    bottom = fig.subplotpars.bottom * height
    top = fig.subplotpars.top * height
    fig.set_figheight(grown)
    extra = grown - height
    fig.subplots_adjust(bottom=(bottom + extra) / grown, top=(top + extra) / grown)
    fig.legend(handles=handles, loc="lower center", ncol=columns, handlelength=3, columnspacing=1.6,
               bbox_to_anchor=(0.5, 0.0), borderaxespad=0.1)


def whole_decades(axis, values):
    """The log y axis from the power of ten below all values to the one above, so that it has ticks."""
    axis.set_ylim(10 ** math.floor(math.log10(min(values)) - 0.05), 10 ** math.ceil(math.log10(max(values)) + 0.05))


def title(axis, text):
    axis.set_title(text, fontsize=12, loc="left", pad=6)


def series(label):
    """The mark of what belongs to one policy; the page shows and hides it by that."""
    return f"{SERIES}{label}"


def floor_handle(resolution):
    """In a legend: the band below which the clock tells nothing apart."""
    return Patch(color=INK, alpha=0.09, label=f"below {human.time(resolution)}: the clock's noise")


def line_handle(style, name, **options):
    return Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dash, label=name, **options)


# ---- files ----

def save(fig, directory, name, title):
    """Writes NAME.svg and NAME.png with the title above, and NAME.csv; returns the SVG, without a title, for the page."""
    inline = _svg(fig)
    with open(directory / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("panel", "series", "x", "y"), *data_of(fig)])
    fig.suptitle(title, y=1.0, va="bottom", fontsize=14)
    (directory / f"{name}.svg").write_text(_for_file(_svg(fig)), encoding="utf-8")
    fig.savefig(directory / f"{name}.png", dpi=150, facecolor="white", bbox_inches="tight", pad_inches=0.1)
    pyplot.close(fig)
    return _for_page(inline, name, title)


def data_of(fig):
    """What a figure draws, as rows: (panel, series, x, y) of lines and points, of a bar (…, its end, its place)."""
    for number, axis in enumerate(fig.axes):
        panel = axis.get_title(loc="left") or axis.get_xlabel() or str(number)
        names = {tick.get_position()[1]: tick.get_text() for tick in axis.get_yticklabels() if tick.get_text()}
        for line in axis.lines:
            x, y = line.get_data(orig=False)
            for one in zip(x, y):
                yield panel, _series_of(line), f"{float(one[0]):.9g}", f"{float(one[1]):.9g}"
        for bars in axis.containers:
            for bar in getattr(bars, "patches", ()):
                place = bar.get_y() + bar.get_height() / 2
                yield panel, _series_of(bar), f"{bar.get_x() + bar.get_width():.9g}", names.get(round(place), f"{place:.9g}")


def _series_of(artist):
    name = artist.get_gid() or artist.get_label()
    return "" if name.startswith("_") else name.removeprefix(SERIES)


def _svg(fig):
    text = io.StringIO()
    fig.savefig(text, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.06, metadata={"Date": None})
    # Parts of one policy share an id in matplotlib's output; an attribute may be shared.
    marked = re.sub(rf'\bid="{SERIES}([^"]*)"', r'data-series="\1"', text.getvalue())
    return marked.replace(INK, "currentColor")


def _for_file(svg):
    return re.sub(r"(<svg[^>]*>)", lambda found: found.group(1) + FILE_STYLE, svg, count=1)


def _for_page(svg, name, title):
    """Only the element: as wide as its container, named for screen readers, its ids its own, no addresses."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    box = re.search(r'viewBox="[^"]*"', svg).group(0)
    return re.sub(r"<svg[^>]*>", f'<svg {box} role="img" aria-label="{title}">', svg, count=1)
