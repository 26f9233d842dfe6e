#include "fuzz/timeline_html.h"

namespace stackdrain {
namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--bg:#fff;--fg:#1a1f24;--dim:#59636d;--rule:#d5dbe1;--panel:#f5f7f9;--edge:#b9c2cb;
--stack:#eaf1fa;--live:#a9caf0;--kept:#d3dbe4;--cached:#bfe3d2;--pool:#fbfcfe;--deferred:#f4d083;--moving:#d8c9f2;
--inuse:#e3d4b8;--bad:#c3112c;--badbg:#fdecee;--m0:#9b1b8f;--m1:#0a716c;--m2:#a34d00;--m3:#4b3cc4;--mu:#2a62ab;--wo:#6b7580}
@media (prefers-color-scheme:dark){:root{--bg:#101418;--fg:#e4eaf0;--dim:#9aa5b0;--rule:#2b343d;--panel:#181e25;--edge:#4a5662;
--stack:#172434;--live:#2d5d96;--kept:#3a4653;--cached:#1f5a48;--pool:#121a23;--deferred:#7d5c10;--moving:#55418a;
--inuse:#54462c;--bad:#ff6b7d;--badbg:#34151b;--m0:#e583dc;--m1:#4fc5bd;--m2:#f0a052;--m3:#a79bff;--mu:#7fb3f5;--wo:#94a0ac}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1500px;padding:16px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.35rem;line-height:1.3;margin:.2em 0 .5em}h2{font-size:1.05rem;margin:1.6em 0 .5em}
p{margin:.4em 0}code,pre,svg text{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
code{overflow-wrap:anywhere}.verdict{border-left:4px solid var(--bad);background:var(--badbg);padding:8px 14px;border-radius:0 6px 6px 0}
.verdict.fine{border-color:var(--m1);background:var(--panel)}.dim{color:var(--dim)}
.scroll{overflow-x:auto;border:1px solid var(--rule);border-radius:6px;padding:6px}.scroll svg{width:100%;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:.6em 0;padding:0;list-style:none;font-size:.86rem}
.legend svg{display:inline-block;width:22px;height:14px;vertical-align:-2px;margin-right:5px}
ol.story{padding:0;list-style:none}ol.story>li{padding:3px 0;border-top:1px solid var(--rule)}
ol.story ul{margin:0;padding-left:20px}ol.story li.in{border-left:3px solid var(--edge);padding-left:8px;margin-left:12px}
pre{background:var(--panel);padding:10px;border-radius:6px;overflow-x:auto;font-size:.82rem;line-height:1.45}
pre .here{color:var(--bad);font-weight:700}pre .not{color:var(--dim)}.bad{color:var(--bad);font-weight:600}
svg{display:block}svg text{fill:var(--fg);font-size:11px}.t.small{font-size:10px}.t.dim{fill:var(--dim)}.end{text-anchor:end}
svg .badtext{fill:var(--bad);font-weight:700;paint-order:stroke;stroke:var(--bg);stroke-width:3px}
.rule{stroke:var(--rule)}.head{fill:var(--panel);stroke-width:1.5}.inner{fill:none;stroke:var(--rule);stroke-dasharray:3 2}
.inner.inside{fill:var(--panel);stroke-dasharray:none;stroke-width:2}
.hold{fill:var(--panel);stroke-width:1.5}
.mutator{stroke:var(--mu)}.world{stroke:var(--wo)}.marker0{stroke:var(--m0)}.marker1{stroke:var(--m1)}.marker2{stroke:var(--m2)}
.marker3{stroke:var(--m3)}
.span{stroke:var(--edge)}.span.Stack{fill:var(--stack)}.span.InUse{fill:var(--inuse)}.span.Dead{fill:var(--badbg)}
.span.Free{fill:none;stroke-dasharray:4 3}
.slot{stroke:var(--edge);stroke-width:.6}.slot.live{fill:var(--live)}.slot.kept{fill:var(--kept)}.slot.cached{fill:var(--cached)}
.slot.pool{fill:var(--pool)}.slot.deferred{fill:var(--deferred);stroke:var(--m2);stroke-width:1.4}
.slot.moving{fill:var(--moving);stroke-dasharray:3 2}
.thread{stroke:var(--fg);stroke-width:.7}.thread.stray{stroke:var(--bad)}.record{fill:var(--fg)}.record.stray{fill:var(--bad)}
.pointer{stroke-width:1.8;fill:none}.along{stroke-dasharray:6 3}.line0{stroke:var(--m0)}.line1{stroke:var(--m1)}
.line2{stroke:var(--m2)}.line3{stroke:var(--m3)}.tip0{fill:var(--m0)}.tip1{fill:var(--m1)}.tip2{fill:var(--m2)}.tip3{fill:var(--m3)}
.pointer.bad{stroke:var(--bad);stroke-width:2.4}.tipbad{fill:var(--bad)}.cross{stroke:var(--bad);stroke-width:2.6;fill:none}
.fatal{fill:none;stroke:var(--bad);stroke-width:2.5;rx:5}
@media print{:root{--bg:#fff}body{max-width:none;padding:0;font-size:11px}.scroll{overflow:visible;border:0;padding:0}
.scroll svg{min-width:0!important}h2{break-after:avoid}li,.verdict{break-inside:avoid}}
)css";

struct LegendRow {
  std::string_view kind;
  std::string_view shape;  // an element in a box of 22 by 14
  std::string_view text;
};

constexpr std::string_view kBox = "<rect x=\"1\" y=\"1\" width=\"20\" height=\"12\" class=\"";
constexpr LegendRow kLegend[] = {
    {"slot live", kBox, "a goroutine\u2019s stack"},
    {"slot deferred", kBox, "deferred: given up, not yet freed"},
    {"slot moving", kBox, "taken from the pool or given up, in the middle of a move"},
    {"slot cached", kBox, "in a processor\u2019s cache"},
    {"slot pool", kBox, "free in its span"},
    {"slot kept", kBox, "kept by a dead goroutine"},
    {"span Stack", kBox, "Stack span"},
    {"span InUse", kBox, "InUse span: heap objects"},
    {"span Free", kBox, "Free span"},
    {"record", "<path d=\"M6 7 l5 -5 l5 5 l-5 5 z\" class=\"",
     "a record\u2019s pointer (elem, selectdone, \u2026) into the stack"},
    {"pointer line0 along", "<path d=\"M1 7 H21\" class=\"", "what a marker holds, from LOAD to RESOLVE"},
    {"pointer bad along", "<path d=\"M1 7 H21\" class=\"", "the same, into what is no stack any more"},
    {"fatal", kBox, "where it was seen"},
};

std::string legend() {
  std::string text = "<ul class=\"legend\">\n";
  for (const LegendRow& row : kLegend) {
    text += "<li><svg aria-hidden=\"true\">" + std::string(row.shape) + std::string(row.kind) + "\"/></svg>" +
            std::string(row.text) + "</li>\n";
  }
  return text + "</ul>\n";
}

std::string item(const std::string& event) {
  return std::string(is_bad(event) ? "<li class=\"bad\">" : "<li>") + escaped(event) + "</li>\n";
}

// The steps in words, what ran inside an operation set in.
std::string story(const Recording& recording) {
  std::string text = "<ol class=\"story\">\n";
  if (recording.steps_left_out != 0) {
    text += "<li class=\"dim\">" + std::to_string(recording.steps_left_out) +
            " steps before these are left out; --minimize makes the program short</li>\n";
  }
  Snapshot before;
  for (const Step& step : recording.steps) {
    const std::string operation = escaped(text_of(recording.view(), step.index));
    std::string head = std::to_string(step.index) + "&ensp;<code>" + operation + "</code>";
    if (step.index >= recording.view().size()) head = "the end: everything is finished, drained and killed";
    if (step.point || step.at_point) head += ", " + escaped(kYieldPoints[static_cast<size_t>(step.at)].what);
    if (step.nested)
      head += " <span class=\"dim\">(inside, at " + std::string(kYieldPoints[static_cast<size_t>(step.at)].name) +
              ")</span>";
    text += std::string(step.nested || step.point ? "<li class=\"in\">" : "<li>") + head;
    const std::vector<std::string> events = story_of(step, before);
    if (!events.empty()) text += "<ul>\n";
    for (const std::string& event : events) text += item(event);
    text += events.empty() ? "</li>\n" : "</ul></li>\n";
    before = step.after;
  }
  if (recording.failed()) {
    text += "<li class=\"bad\">" + escaped(recording.signature) + " is seen here" +
            (recording.stopped_by.empty() ? "" : ": the process was stopped by " + escaped(recording.stopped_by)) +
            "</li>\n";
  }
  return text + "</ol>\n";
}

std::string program_text(const Recording& recording) {
  std::string text = "<pre>";
  const size_t count = std::min(recording.view().size(), kMaxOperations);
  for (size_t i = 0; i < count; ++i) {
    const bool here = recording.failed() && i == recording.verdict.index;
    const bool not_run = recording.failed() && i > recording.verdict.index;
    const std::string line = std::to_string(i) + "\t" + escaped(text_of(recording.view(), i));
    if (here) {
      text += "<span class=\"here\">" + line + "\t\u25c0 here</span>\n";
    } else {
      text += not_run ? "<span class=\"not\">" + line + "</span>\n" : line + "\n";
    }
  }
  return text + "</pre>\n";
}

std::string section(const Recording& recording, bool named) {
  std::string text;
  const std::string policy = escaped(recording.policy->name);
  text += "<h2>The run" + (named ? " under " + policy : std::string()) +
          "</h2>\n<p class=\"dim\">Operations from left to right, " +
          "the arena from top to bottom (offsets at the left, not to scale). A column shows what is there after its "
          "step.</p>\n";
  text += "<div class=\"scroll\" tabindex=\"0\">\n" + picture_of(recording) + "</div>\n" + legend();
  return text + "<h2>Step by step" + (named ? " under " + policy : std::string()) + "</h2>\n" + story(recording);
}

}  // namespace

std::string timeline_page(std::span<const Recording> recordings, const PageFacts& facts) {
  const Recording& first = recordings.front();
  std::string text =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
  text += escaped(facts.headline) + "</title>\n<style>" + std::string(kStyle) + "</style>\n</head>\n<body>\n<h1>" +
          escaped(facts.headline) + "</h1>\n";
  text += std::string("<div class=\"verdict") + (facts.message.empty() ? " fine" : "") + "\">\n";
  if (!facts.invariant.empty()) text += "<p><b>Must hold:</b> " + escaped(facts.invariant) + "</p>\n";
  if (!facts.message.empty()) text += "<p><b>Seen:</b> " + escaped(facts.message) + "</p>\n";
  text += "<p class=\"dim\">Policy " + escaped(first.policy->name) + " (" + escaped(first.policy->summary) +
          ")</p>\n</div>\n";
  for (const Recording& recording : recordings) text += section(recording, recordings.size() > 1);
  text += "<h2>The program</h2>\n" + program_text(first);
  return text + "<p class=\"dim\">Shown again by <code>" + escaped(facts.reproduce) + "</code></p>\n</body>\n</html>\n";
}

}  // namespace stackdrain
