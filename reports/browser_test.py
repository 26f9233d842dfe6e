"""The page in a real browser (headless Chromium): no console errors, every graph drawn, policies can be hidden.

browser_test.py REPORT_DIR. Exit codes: 0 fine, 1 something is wrong (a line says what), 2 no such page or no browser.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Appended to a copy of the page; what it finds comes back as text in the dumped document.
PROBE = """
<script>
const seen = {graphs: {}, missing: 0, toggled: [], faded: false, overflow: document.documentElement.scrollWidth - innerWidth};
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg");
  if (svg === null) { seen.missing += 1; continue; }
  const box = svg.getBoundingClientRect();
  const drawn = [...svg.querySelectorAll("path, use")].filter((part) => part.getBoundingClientRect().width > 0).length;
  seen.graphs[figure.id] = {width: box.width, height: box.height, drawn: drawn};
}
const box = document.querySelector("[data-toggle]");
if (box !== null) {
  const parts = [...document.querySelectorAll("[data-series]")].filter((part) => part.dataset.series === box.dataset.toggle);
  const shown = () => parts.filter((part) => getComputedStyle(part).display !== "none").length;
  for (let turn = 0; turn < 3; turn++) { seen.toggled.push(shown()); box.click(); }
  const part = document.querySelector(".graph [data-series]");
  part.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
  seen.faded = part.closest(".graph").classList.contains("faded") && part.classList.contains("lit");
}
const told = document.createElement("pre");
told.id = "probe";
told.textContent = JSON.stringify(seen);
document.body.append(told);
</script>
"""


def browse(browser, page, width, profile):
    """(what the probe saw, console errors)"""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               f"--user-data-dir={profile}", f"--window-size={width},1200", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    found = re.search(r'<pre id="probe">(.*?)</pre>', ran.stdout, re.DOTALL)
    errors = [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")) if found else None, errors


def problems_of(seen, errors, graphs):
    problems = [f"console: {line}" for line in errors]
    if seen is None:
        return [*problems, "the page's scripts did not run to their end"]
    problems += [f"graph {name} is not drawn" for name in graphs if f"graph-{name}" not in seen["graphs"]]
    for name, one in seen["graphs"].items():
        if one["width"] < 300 or one["height"] < 150 or one["drawn"] < 10:
            problems.append(f"{name} is drawn as {one['width']:.0f} × {one['height']:.0f} with {one['drawn']} parts")
    if seen["toggled"]:
        before, hidden, again = seen["toggled"]
        if not before or hidden or again != before:
            problems.append(f"a policy's box shows {before}, then {hidden}, then {again} of its parts")
    if not seen["faded"]:
        problems.append("a policy under the pointer does not stand out")
    if seen["overflow"] > 0:
        problems.append(f"the page is {seen['overflow']} px wider than the window")
    return problems


def main(arguments):
    folder = Path(arguments[0]).resolve() if len(arguments) == 1 else None
    if folder is None or not (folder / "index.html").is_file():
        print("browser_test.py: wants a folder with a report's index.html", file=sys.stderr)
        return 2
    browser = shutil.which("chromium")
    if browser is None:
        print("browser_test.py: no chromium here; install Debian's package chromium", file=sys.stderr)
        return 2
    text = (folder / "index.html").read_text(encoding="utf-8")
    graphs = sorted(path.stem for path in folder.glob("*.svg"))
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "page.html"
        page.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
        for width in (1200, 500):
            seen, errors = browse(browser, page, width, Path(scratch) / "profile")
            found += [f"{width} px: {problem}" for problem in problems_of(seen, errors, graphs)]
    for problem in found:
        print(problem)
    if not found:
        print(f"{len(graphs)} graphs drawn, no console error")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
