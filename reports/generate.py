#!/usr/bin/python3
"""generate.py RESULTS.json --out DIR: the report of one run.

Writes DIR/index.html (one page that needs nothing else), DIR/NAME.svg, NAME.png and NAME.csv of each graph, and prints a
summary. Reads only results.json. Exit codes: 0 fine, 2 bad usage or a bad results.json (one line says where).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # nothing but DIR is written
sys.path.insert(0, str(Path(__file__).resolve().parent))

import human
import reach
import results as find
import schema
import stats


def main(arguments=None):
    options = parse(arguments)
    loaded = []
    for path in filter(None, (options.results, options.compare_with)):
        try:
            loaded.append(schema.load_results(path))
        except schema.BadResults as error:
            print(f"generate.py: {path.name}: {error}", file=sys.stderr)
            return 2
    results = loaded[0]
    if len(loaded) > 1:
        results["older"] = loaded[1]
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        write(results, options.out, options.title)
    except OSError as error:
        print(f"generate.py: {options.out} cannot be written: {error.strerror}; choose another --out", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(summary_object(results)))
        return 0
    print(summary(results))
    print(f"\nThe report: {options.out / 'index.html'} (graphs beside it as SVG, PNG and CSV; figures: {options.results})")
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(prog="generate.py", description="Makes the report of one results.json.")
    parser.add_argument("results", type=Path, metavar="RESULTS.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; made if need be")
    parser.add_argument("--title", default="stackdrain: report", metavar="TEXT", help="of the page (%(default)s)")
    parser.add_argument("--compare-with", type=Path, metavar="OLD.json", help="an earlier results.json, to say what changed")
    parser.add_argument("--json", action="store_true", help="the summary as one object")
    return parser.parse_args(arguments)


def write(results, directory, title):
    # matplotlib keeps a cache of fonts in its configuration folder, by default in the user's home.
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("MPLCONFIGDIR", cache)
        import drawing
        import graphs
        import page
        pictures = []
        for graph in graphs.GRAPHS:
            figure = graph.draw(results)
            pictures.append((graph, drawing.save(figure, directory, graph.name, graph.title) if figure else None))
        page.write(results, pictures, directory, title)


# ---- the summary on the terminal ----

def summary_object(results):
    """The same for programs (reports/command.schema.json, "report")."""
    rows = [{"stacks": stacks, "stack_bytes": size, "mutators": mutators, "markers": markers} | _figures(row)
            for (stacks, size, mutators, markers), group in find.pause_groups(results, oversubscribed=False) for row in group]
    return {"rows": rows, "targets": reach.counts(results), "unchecked": find.unchecked(results), "found": find.unexpected_findings(results)}


def summary(results):
    groups = find.pause_groups(results, oversubscribed=False)
    lines = [f"{'policy':<30} {'pause':>9} | {'stall after restart':>19} | {'drain CPU':>9} | {'held bytes':>10}"]
    for (stacks, size, _, _), rows in groups:
        lines.append(f"{human.count(stacks)} stacks of {human.size(size)}:")
        lines += [_summary_row(row) for row in rows]
    if not groups:
        lines = ["The pause study is not in this run: no table."]
    lines.append(reach.summary(results))
    lines += [f"{name} shows no spans or slots; not checked of it: {' '.join(ids)}" for name, ids in find.unchecked(results).items()]
    found = find.unexpected_findings(results)
    if found:
        lines.append("FOUND: " + "; ".join(found))
    return "\n".join(lines)


def _figures(row):
    """What the summary has of a row: medians, None where nothing was measured."""
    def middle(values):
        return stats.median(values) if values else None
    return {"policy": find.label(row), "pause_ns": middle(find.split_values(row, "drain_ns")), "stall_ns": middle(row["stall_ns"]),
            "drain_cpu_ns": middle(row["drain_cpu_ns"]), "held_bytes": find.held_most(row)}


def _summary_row(row):
    figures = _figures(row)
    def shown(name):
        return "–" if figures[name] is None else human.time(figures[name])
    return (f"  {figures['policy']:<28} {shown('pause_ns'):>9} | {shown('stall_ns'):>19} | {shown('drain_cpu_ns'):>9} | "
            f"{human.size(figures['held_bytes']):>10}")


if __name__ == "__main__":
    sys.exit(main())
