"""The real Go runtime's figures (data/*.csv) as rows of the "go" section of results.json."""

import csv
from pathlib import Path

FILES = ("go-seed-commit.csv", "go1.4.csv", "go1.19.csv")
FIGURES = ("ns_per_stack_med", "ns_per_stack_min", "ns_per_stack_max", "drain_ns_med", "pause_ns_med", "mark_ns_med")


def load_go(data_dir):
    """Every row of the three files; the trees are "seed", "go14" and "go1.19.8"."""
    rows = []
    for name in FILES:
        with open(Path(data_dir) / name, newline="", encoding="utf-8") as file:
            rows.extend(_row(line) for line in csv.DictReader(file))
    return rows


def _row(line):
    row = {"tree": line["tree"], "gomaxprocs": int(line["gomaxprocs"]), "stack_bytes": int(line["stack_bytes"]),
           "stacks": int(line["n"])}
    return row | {figure: float(line[figure]) for figure in FIGURES}
