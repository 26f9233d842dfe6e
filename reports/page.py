"""Puts the page together: the template, the sections, the graphs with their sentences."""

import re
from pathlib import Path
from string import Template

import drawing
import results as find
import sections
import tables
from tables import Html

TEMPLATE = Path(__file__).with_name("page.html")


def write(results, pictures, directory, title):
    """directory/index.html; pictures: [(graph, SVG or None)]."""
    figures = _toggles(results) + Html("\n").join(_figure(results, graph, svg) for graph, svg in pictures)
    body = "\n".join(f'<section id="{section.name}"><h2>{section.title}</h2>\n'
                     f'{section.content(results, figures)}</section>' for section in sections.SECTIONS)
    links = " ".join(f'<a href="#{section.name}">{section.title}</a>' for section in sections.SECTIONS)
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=tables.html(title), introduction=_with_code(sections.introduction(results)), absent=_absent(results), links=links, body=body)
    (directory / "index.html").write_text(text, encoding="utf-8")


def _toggles(results):
    """A box for each policy; page.html's script shows and hides it in every graph."""
    styles = drawing.styles_of(find.labels(results))
    boxes = "".join(f'<label><input type="checkbox" checked data-toggle="{tables.attribute(name)}">'
                    f'<i style="background: {style.colour}"></i>{tables.html(name)}</label> ' for name, style in styles.items())
    return Html(f'<div class="toggles" role="group" aria-label="Policies shown in the graphs">{boxes}</div>\n') if boxes else Html()


def _figure(results, graph, svg):
    if svg is None:
        picture = tables.missing("Nothing to draw: this run has no such measurements.")
        return f'<figure id="graph-{graph.name}"><h3>{graph.title}</h3>{picture}</figure>'
    return (f'<figure id="graph-{graph.name}"><h3>{graph.title}</h3><div class="scroll" tabindex="0">'
            f'<div class="graph">{svg}</div></div><figcaption>{tables.html(graph.sentence(results))} '
            f'<a href="{graph.name}.svg">SVG</a>, <a href="{graph.name}.png">PNG</a>, '
            f'<a href="{graph.name}.csv" download>data</a></figcaption></figure>')


def _absent(results):
    absent = sections.absent_parts(results)
    return tables.missing(f"Not in this run: {', '.join(absent)}.") if absent else ""


def _with_code(text):
    return Html(re.sub(r"`([^`]*)`", r"<code>\1</code>", tables.html(text)))
