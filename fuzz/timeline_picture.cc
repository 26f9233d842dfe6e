// The picture of a recording: columns of steps, rows of addresses.
#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <set>

#include "fuzz/timeline_html.h"

namespace stackdrain {

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

namespace {

// In SVG units, which are pixels on a screen.
constexpr double kColumn = 146;
constexpr double kLeft = 62;       // the addresses
constexpr double kTextLine = 13;   // of small text
constexpr double kLetter = 6.05;   // width, of small monospaced text
constexpr double kLane = 24;       // of a marker
constexpr double kSpanTitle = 15;  // above what a span holds
constexpr double kRecordRow = 12;  // of a record inside its stack
constexpr size_t kLetters = static_cast<size_t>((kColumn - 14) / kLetter);

size_t letters_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// Lines of at most `letters`, broken at blanks; a word that is longer is cut.
std::vector<std::string> wrapped(const std::string& text, size_t letters) {
  std::vector<std::string> lines(1);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    std::string word = text.substr(at, end - at);
    at = end + 1;
    if (!lines.back().empty() && letters_of(lines.back()) + 1 + letters_of(word) > letters) lines.emplace_back();
    while (letters_of(word) > letters && lines.back().empty()) {
      lines.back() = word.substr(0, letters);
      word = word.substr(letters);
      lines.emplace_back();
    }
    lines.back() += (lines.back().empty() ? "" : " ") + word;
  }
  return lines;
}

std::string offset_text(uint64_t offset) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "+0x%" PRIx64, offset);
  return text.data();
}

std::string bytes_text(uint64_t bytes) {
  return bytes % 1024 == 0 ? std::to_string(bytes / 1024) + " KiB" : std::to_string(bytes) + " B";
}

class Svg {
 public:
  void add(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    std::array<char, 700> buffer;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(buffer.data(), buffer.size(), format, arguments);
    va_end(arguments);
    body_ += buffer.data();
    body_ += '\n';
  }
  void box(double x, double y, double width, double height, const std::string& kind, const std::string& title = "") {
    add("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\">%s</rect>", x, y, width, height,
        kind.c_str(), title.empty() ? "" : ("<title>" + escaped(title) + "</title>").c_str());
  }
  void text(double x, double y, const std::string& kind, const std::string& text) {
    add("<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>", x, y, kind.c_str(), escaped(text).c_str());
  }
  void line(double x1, double y1, double x2, double y2, const std::string& kind) {
    add("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>", x1, y1, x2, y2, kind.c_str());
  }
  // A head at (x, y) of an arrow that goes down.
  void head(double x, double y, const std::string& kind) {
    add("<path d=\"M%.1f %.1f l-4.5 -8 l9 0 z\" class=\"%s\"/>", x, y, kind.c_str());
  }
  std::string whole(double width, double height, const std::string& label) const {
    // A page that is a little too narrow shows it a little smaller: the end, which is what matters, is in sight.
    constexpr double kSmallest = 0.8;
    std::array<char, 300> head;
    std::snprintf(head.data(), head.size(),
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
                  "height=\"%.0f\" style=\"min-width:%.0fpx;max-width:%.0fpx\">\n<title>",
                  width, height, width, height, width * kSmallest, width);
    return head.data() + escaped(label) + "</title>\n" + body_ + "</svg>\n";
  }

 private:
  std::string body_;
};

// What lies in one slot, or in a span that has none.
enum class What : uint8_t { kLive, kKept, kCached, kPoolFree, kDeferred, kMoving };
constexpr std::array kWhatClass = {"live", "kept", "cached", "pool", "deferred", "moving"};

struct SlotBox {
  uint64_t lo = 0;
  uint64_t bytes = 0;
  What what = What::kLive;
  int who = -1;  // goroutine, which may have left it, or processor
  auto operator<=>(const SlotBox&) const = default;
};

struct SpanBox {
  uint64_t base = 0;
  uint64_t bytes = 0;
  SpanState state = SpanState::kFree;
  uint32_t generation = 0;
  uint32_t slot_bytes = 0;
  uint32_t capacity = 0;
  auto operator<=>(const SpanBox&) const = default;
};

// In its goroutine's own stack; in its next one; elsewhere, which is wrong.
enum class Place : uint8_t { kInside, kMoving, kStray };

struct RecordMark {
  uint64_t address = 0;
  int goroutine = 0;
  RootKind kind = RootKind::kElem;
  Place place = Place::kInside;
  auto operator<=>(const RecordMark&) const = default;
};

// Who lived on a stack last, by its low end.
using Tenants = std::map<uint64_t, int>;

std::vector<SlotBox> slots_of(const Snapshot& shot, const Tenants& tenants) {
  const auto tenant = [&](uint64_t lo) { return tenants.contains(lo) ? tenants.at(lo) : -1; };
  std::map<uint64_t, SlotBox> slots;
  for (const SpanPicture& span : shot.spans) {  // what nothing else claims is on its way
    if (span.state != SpanState::kStack || span.slot_bytes == 0) continue;
    for (uint64_t lo = span.base; lo + span.slot_bytes <= span.base + span.bytes; lo += span.slot_bytes) {
      slots[lo] = {lo, span.slot_bytes, What::kMoving, tenant(lo)};
    }
  }
  for (const SlotPicture& slot : shot.slots) {
    constexpr std::array kWhats = {What::kLive, What::kPoolFree, What::kCached, What::kDeferred, What::kCached};
    static_assert(kWhats.size() == std::size(kSlotPlaceNames));
    const int who = slot.place == SlotPlace::kDeferred ? tenant(slot.lo) : slot.proc;
    slots[slot.lo] = {slot.lo, slot.bytes, kWhats[static_cast<size_t>(slot.place)], who};
  }
  for (size_t g = 0; g < shot.owners.size(); ++g) {
    const OwnerView& owner = shot.owners[g];
    if (owner.lo == owner.hi) continue;
    const What what = owner.status == GoStatus::kDead ? What::kKept : What::kLive;
    slots[owner.lo] = {owner.lo, owner.hi - owner.lo, what, static_cast<int>(g)};
  }
  std::vector<SlotBox> boxes;
  boxes.reserve(slots.size());
  for (const auto& [lo, box] : slots) boxes.push_back(box);
  return boxes;
}

std::vector<SpanBox> spans_of(const Snapshot& shot) {
  std::vector<SpanBox> boxes;
  boxes.reserve(shot.spans.size());
  for (const SpanPicture& span : shot.spans) {
    const bool free = span.state == SpanState::kFree;
    boxes.push_back({span.base, span.bytes, span.state, free ? 0 : span.generation, span.slot_bytes, span.capacity});
  }
  return boxes;
}

// A context is one of many words that stay inside; it is shown where it is the story.
bool is_shown(RootKind kind, Place place, bool held) {
  return kind != RootKind::kContext || place == Place::kStray || held;
}

// A record's pointer into a stack that nobody has, in the middle of a move: the goroutine's next one.
bool in_a_move(const Snapshot& shot, uint64_t address) {
  for (const SlotBox& slot : slots_of(shot, {})) {
    if (slot.what == What::kMoving && address >= slot.lo && address < slot.lo + slot.bytes) return true;
  }
  return false;
}

std::vector<RecordMark> records_of(const Snapshot& shot) {
  std::vector<RecordMark> marks;
  for (size_t g = 0; g < shot.owners.size(); ++g) {
    const OwnerView& owner = shot.owners[g];
    for (size_t k = 0; k < kRootKinds; ++k) {
      const uint64_t address = owner.roots[k];
      if (address == kNowhere) continue;
      const RootKind kind = static_cast<RootKind>(k);
      const bool inside = address >= owner.lo && address < owner.hi;
      const Place place = inside ? Place::kInside : in_a_move(shot, address) ? Place::kMoving : Place::kStray;
      const bool held = std::any_of(shot.held.begin(), shot.held.end(), [&](const HeldView& view) {
        return view.pointer != kNowhere && view.goroutine == g && view.kind == kind;
      });
      if (is_shown(kind, place, held)) marks.push_back({address, static_cast<int>(g), kind, place});
    }
  }
  return marks;
}

// The same thing in neighbouring columns, [first, last].
template <class Thing>
struct Run {
  Thing thing;
  size_t first = 0;
  size_t last = 0;
};

template <class Thing, class Of>
std::vector<Run<Thing>> runs_of(size_t columns, Of of) {
  std::vector<Run<Thing>> runs;
  std::map<Thing, size_t> open;
  for (size_t column = 0; column < columns; ++column) {
    for (const Thing& thing : of(column)) {
      const auto found = open.find(thing);
      if (found != open.end() && runs[found->second].last + 1 == column) {
        runs[found->second].last = column;
        continue;
      }
      if (found != open.end() && runs[found->second].last == column) continue;
      open[thing] = runs.size();
      runs.push_back({thing, column, column});
    }
  }
  return runs;
}

// Where an address is in the picture. Not to scale.
class Rows {
 public:
  Rows(const std::vector<const Step*>& steps, double top) : top_(top) {
    for (const Step* step : steps) note(step->after);
    lay_out();
  }
  double top_of_span(uint64_t base) const { return tops_.at(base) - (bases_.contains(base) ? kSpanTitle : 0); }
  double top_of(uint64_t lo) const { return tops_.contains(lo) ? tops_.at(lo) : bottom_; }
  // Of what ends there.
  double bottom_of(uint64_t end) const {
    if (!tops_.contains(end)) return bottom_;
    return tops_.at(end) - (bases_.contains(end) ? kSpanTitle + kGap : 0);
  }
  double bottom() const { return bottom_; }
  double top() const { return top_; }
  // A record's row in the stack that it points into: from the high end, one a kind.
  double row_of(uint64_t address, RootKind kind) const {
    const auto above = edges_.upper_bound(address);
    const double end = above == edges_.end() ? bottom_ : bottom_of(*above);
    const size_t row = static_cast<size_t>(kind) % kRootKinds;
    return end - 7 - kRecordRow * static_cast<double>(row_used(row));
  }
  const std::set<uint64_t>& bases() const { return bases_; }

 private:
  static constexpr double kGap = 3;  // between spans

  void note(const Snapshot& shot) {
    for (const SpanPicture& span : shot.spans) {
      edges_.insert(span.base);
      edges_.insert(span.base + span.bytes);
      bases_.insert(span.base);
      if (span.state != SpanState::kFree) taken_.push_back({span.base, span.base + span.bytes});
    }
    for (const SlotBox& slot : slots_of(shot, {})) {
      if (slot.what != What::kPoolFree && slot.what != What::kCached) {
        edges_.insert(slot.lo);
        edges_.insert(slot.lo + slot.bytes);
        stacks_.push_back({slot.lo, slot.lo + slot.bytes});
      } else {
        edges_.insert(slot.lo);
      }
    }
    for (const RecordMark& mark : records_of(shot)) kinds_.insert(static_cast<size_t>(mark.kind));
    for (const HeldView& held : shot.held) {
      if (held.pointer != kNowhere) kinds_.insert(static_cast<size_t>(held.kind));
    }
  }

  using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;
  static bool within(const Ranges& ranges, uint64_t from, uint64_t to) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const auto& r) { return from >= r.first && to <= r.second; });
  }
  size_t row_used(size_t kind) const { return static_cast<size_t>(std::distance(kinds_.begin(), kinds_.find(kind))); }

  double height_of(uint64_t from, uint64_t to) const {
    const double bits = static_cast<double>(std::bit_width((to - from) / kMinStackBytes | 1) - 1);
    if (within(stacks_, from, to)) return 22 + 4 * bits + kRecordRow * static_cast<double>(kinds_.size());
    return within(taken_, from, to) ? 5 + 3 * bits : 16;
  }

  void lay_out() {
    double y = top_;
    for (auto edge = edges_.begin(); edge != edges_.end(); ++edge) {
      if (bases_.contains(*edge)) y += kSpanTitle + (edge == edges_.begin() ? 0 : kGap);
      tops_[*edge] = y;
      if (std::next(edge) != edges_.end()) y += height_of(*edge, *std::next(edge));
    }
    bottom_ = y;
  }

  double top_;
  double bottom_ = 0;
  std::set<uint64_t> edges_;
  std::set<uint64_t> bases_;
  std::set<size_t> kinds_;
  Ranges stacks_;
  Ranges taken_;
  std::map<uint64_t, double> tops_;
};

// Steps that belong to one operation that nothing is around: its points, what runs inside, and itself.
struct Group {
  size_t index = 0;
  size_t first = 0;
  size_t last = 0;
};

std::vector<Group> groups_of(const std::vector<const Step*>& steps) {
  std::vector<Group> groups;
  bool open = false;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& step = *steps[i];
    const size_t host = step.nested ? (open ? groups.back().index : step.index - 1) : step.index;
    if (!open || groups.back().index != host) groups.push_back({host, i, i});
    groups.back().last = i;
    open = step.nested || step.point;
  }
  return groups;
}

constexpr std::array kActorClass = {"mutator", "marker0", "marker1", "marker2", "marker3", "world"};

// Who does an operation: an index into kActorClass.
size_t actor_of(ProgramView program, size_t index) {
  if (index >= program.size() || program[index].reserved()) return 5;
  const Operation operation = program[index];
  switch (operation.op()) {
    case Op::kShrink:
    case Op::kGcMark:
    case Op::kLoad:
    case Op::kResolve:
      return 1 + operation.arg(0);
    case Op::kGcBegin:
    case Op::kGcEnd:
    case Op::kRestart:
    case Op::kDrain:
    case Op::kAt:
    case Op::kInside:
    case Op::kQuiesce:
    case Op::kRelease:
    case Op::kRefuse:
    case Op::kWorld:
    case Op::kNop:
      return 5;
    default:
      return 0;
  }
}

}  // namespace

std::vector<std::string> story_of(const Step& step, const Snapshot& before) {
  if (step.no_op) return {"nothing: " + step.story};
  std::vector<std::string> lines = changes(before, step.after);
  if (lines.empty() && !step.story.empty()) lines.push_back(step.story);
  return lines;
}

bool is_bad(const std::string& event) {
  return event.ends_with("it dangles");
}

namespace {

class Picture {
 public:
  explicit Picture(const Recording& recording) : recording_(recording) {
    for (const Step& step : recording.steps) {
      const bool world = step.index == 0 && !step.point && recording.view().size() != 0 &&
                         recording.view()[0].op() == Op::kWorld && !recording.view()[0].reserved();
      if (!world) steps_.push_back(&step);
    }
    note_tenants();
  }

  std::string draw() {
    if (steps_.empty()) return "";
    groups_ = groups_of(steps_);
    double y = heads(fails() ? 20 : 4);
    y = lanes(y + 6);
    const Rows rows(steps_, y + 4);
    spans(rows);
    slots(rows);
    records(rows);
    pointers(rows);
    addresses(rows);
    const double bottom = stories(rows.bottom() + 10);
    fatal(bottom);
    return svg_.whole(right() + 4, bottom + 6, "timeline under " + std::string(recording_.policy->name));
  }

 private:
  double left(size_t column) const { return kLeft + kColumn * static_cast<double>(column); }
  const Snapshot& shot(size_t column) const { return steps_[column]->after; }
  double right() const { return left(steps_.size()); }
  bool fails() const { return recording_.failed(); }

  void note_tenants() {
    Tenants tenants;
    for (const Step* step : steps_) {
      for (const SlotPicture& slot : step->after.slots) {
        if (slot.place != SlotPlace::kDeferred) tenants.erase(slot.lo);
      }
      for (size_t g = 0; g < step->after.owners.size(); ++g) {
        const OwnerView& owner = step->after.owners[g];
        if (owner.lo != owner.hi) tenants[owner.lo] = static_cast<int>(g);
      }
      tenants_.push_back(tenants);
    }
  }

  // ---- what runs ----

  double heads(double top) {
    constexpr size_t kWide = 1000;
    size_t most = 1;
    for (const Group& group : groups_) {
      const size_t columns = group.last - group.first + 1;
      most = std::max(most, wrapped(head_of(group), std::min(kWide, kLetters * columns)).size());
    }
    const double height = 10 + kTextLine * static_cast<double>(most);
    bool any_inside = false;
    for (const Group& group : groups_) {
      const double x = left(group.first) + 2;
      const double width = left(group.last + 1) - left(group.first) - 4;
      svg_.box(x, top, width, height, std::string("head ") + kActorClass[actor_of(recording_.view(), group.index)]);
      double y = top + 14;
      for (const std::string& line : wrapped(head_of(group), kLetters * (group.last - group.first + 1))) {
        svg_.text(x + 5, y, "t", line);
        y += kTextLine;
      }
      any_inside = any_inside || group.last > group.first;
    }
    return any_inside ? inner_heads(top + height + 2) : top + height;
  }

  std::string head_of(const Group& group) const {
    const std::string number = group.index < recording_.view().size() ? std::to_string(group.index) + "  " : "";
    return number + text_of(recording_.view(), group.index);
  }

  // The steps of operations that have several: what runs inside stands out.
  double inner_heads(double top) {
    size_t most = 2;
    for (const Step* step : steps_) most = std::max(most, inner_lines(*step).size());
    const double height = 10 + kTextLine * static_cast<double>(most);
    for (const Group& group : groups_) {
      if (group.first == group.last) continue;
      for (size_t column = group.first; column <= group.last; ++column) {
        const Step& step = *steps_[column];
        const double x = left(column) + 4;
        const std::string kind =
            step.nested ? std::string("inner inside ") + kActorClass[actor_of(recording_.view(), step.index)] : "inner";
        svg_.box(x, top, kColumn - 8, height, kind);
        double y = top + 14;
        for (const std::string& line : inner_lines(step)) {
          svg_.text(x + 4, y, step.nested ? "t" : "t dim", line);
          y += kTextLine;
        }
      }
    }
    return top + height;
  }

  std::vector<std::string> inner_lines(const Step& step) const {
    const std::string point(kYieldPoints[static_cast<size_t>(step.at)].name);
    if (step.nested) {
      std::vector<std::string> lines =
          wrapped(std::to_string(step.index) + "  " + text_of(recording_.view(), step.index), kLetters - 1);
      lines.insert(lines.begin(), "inside, at " + point);
      return lines;
    }
    if (!step.point && !step.at_point) return {"it is over"};
    return wrapped("\u2026 " + std::string(kYieldPoints[static_cast<size_t>(step.at)].what), kLetters - 1);
  }

  // ---- markers and what they hold ----

  struct Holding {
    size_t marker = 0;
    HeldView held;
    size_t first = 0;
    size_t last = 0;        // the last column in which it is held
    bool resolved = false;  // in the column after
    size_t bad_from = kNever;
    double x(double left, double width) const { return left + width - 14 - 13 * static_cast<double>(marker); }
  };

  void find_holdings() {
    std::array<int, kMachineMarkers> open;
    open.fill(-1);
    for (size_t column = 0; column < steps_.size(); ++column) {
      for (size_t m = 0; m < open.size(); ++m) {
        const HeldView& now = steps_[column]->after.held[m];
        Holding* was = open[m] < 0 ? nullptr : &holdings_[static_cast<size_t>(open[m])];
        if (was != nullptr && was->held.pointer != now.pointer) {
          was->resolved = true;
          open[m] = -1;
          was = nullptr;
        }
        if (now.pointer == kNowhere) continue;
        if (was == nullptr) {
          open[m] = static_cast<int>(holdings_.size());
          holdings_.push_back({.marker = m, .held = now, .first = column});
          was = &holdings_.back();
        }
        was->last = column;
        if (now.dangles) was->bad_from = std::min(was->bad_from, column);
      }
    }
  }

  double lanes(double top) {
    find_holdings();
    for (const Holding& holding : holdings_) lanes_.emplace(holding.marker, 0);
    double y = top;
    for (auto& [marker, lane] : lanes_) {
      lane = y;
      svg_.text(kLeft - 6, y + 15, "t end", "m" + std::to_string(marker));
      svg_.line(kLeft, y + kLane - 3, right(), y + kLane - 3, "rule");
      y += kLane;
    }
    for (const Holding& holding : holdings_) {
      const double lane = lanes_.at(holding.marker);
      const double x = left(holding.first) + 3;
      svg_.box(x, lane, left(holding.last + 1) - x - 3, kLane - 6, "hold marker" + std::to_string(holding.marker));
      const std::string text = "holds " + offset_text(holding.held.pointer) + ", " +
                               std::string(kRootNames[static_cast<size_t>(holding.held.kind)]) + " of g" +
                               std::to_string(holding.held.goroutine);
      const bool wide = holding.last > holding.first;
      svg_.text(x + 5, lane + 13, "t", wide ? text : offset_text(holding.held.pointer));
    }
    return y;
  }

  // From LOAD to RESOLVE: down to the address, along it, and down again where it ends.
  void pointers(const Rows& rows) {
    for (const Holding& holding : holdings_) {
      const std::string kind = "pointer line" + std::to_string(holding.marker);
      const double y = rows.row_of(holding.held.pointer, holding.held.kind);
      const double from = lanes_.at(holding.marker) + kLane - 6;
      const double begin = holding.x(left(holding.first), kColumn);
      const double end = holding.x(left(holding.last), kColumn);
      const bool bad = holding.bad_from != kNever;
      const double sound_end = bad ? std::max(begin, left(holding.bad_from)) : end;
      svg_.line(begin, from, begin, y - 7, kind);
      svg_.head(begin, y, "tip tip" + std::to_string(holding.marker));
      if (sound_end > begin) svg_.line(begin, y, sound_end, y, kind + " along");
      if (bad) dangle(holding, sound_end, end, from, y);
      if (!bad && holding.last > holding.first) {
        svg_.line(end, from, end, y - 7, kind);
        svg_.head(end, y, "tip tip" + std::to_string(holding.marker));
      }
    }
  }

  void dangle(const Holding& holding, double from_x, double x, double from, double y) {
    svg_.line(from_x, y, x, y, "pointer bad along");
    svg_.line(x, from, x, y - 7, "pointer bad");
    svg_.head(x, y, "tip tipbad");
    svg_.add("<path d=\"M%.1f %.1f l10 10 m0 -10 l-10 10\" class=\"cross\"/>", x - 5, y - 5);
    svg_.text(x - 12, y - 7, "t end badtext", "m" + std::to_string(holding.marker) + " dangles");
  }

  // ---- the arena ----

  void spans(const Rows& rows) {
    for (const Run<SpanBox>& run : runs_of<SpanBox>(steps_.size(), [&](size_t c) { return spans_of(shot(c)); })) {
      const SpanBox& span = run.thing;
      const double x = left(run.first) + 1;
      const double y = rows.top_of_span(span.base);
      const double width = left(run.last + 1) - x - 1;
      const std::string name(kSpanStateNames[static_cast<size_t>(span.state)]);
      svg_.box(x, y, width, rows.bottom_of(span.base + span.bytes) - y, "span " + name,
               name + " span " + offset_text(span.base) + ", " + bytes_text(span.bytes));
      svg_.text(x + 5, y + 11, "t small", span_title(span, width));
    }
  }

  static std::string span_title(const SpanBox& span, double width) {
    const std::string name(kSpanStateNames[static_cast<size_t>(span.state)]);
    if (span.slot_bytes == 0) return name + " " + bytes_text(span.bytes);
    const std::string slots = std::to_string(span.capacity) + "\u00d7" + bytes_text(span.slot_bytes);
    const std::string full = "Stack span, " + slots;
    return width > static_cast<double>(letters_of(full) + 1) * kLetter ? full : "Stack";
  }

  void slots(const Rows& rows) {
    for (const Run<SlotBox>& run :
         runs_of<SlotBox>(steps_.size(), [&](size_t c) { return slots_of(shot(c), tenants_[c]); })) {
      const SlotBox& slot = run.thing;
      const double x = left(run.first) + 4;
      const double y = rows.top_of(slot.lo) + 0.5;
      const double width = left(run.last + 1) - x - 4;
      const double height = rows.bottom_of(slot.lo + slot.bytes) - y - 1;
      svg_.box(x, y, width, std::max(1.5, height), std::string("slot ") + kWhatClass[static_cast<size_t>(slot.what)],
               slot_title(slot));
      if (height > 14) svg_.text(x + 5, y + 13, "t", slot_title(slot));
    }
  }

  static std::string slot_title(const SlotBox& slot) {
    const std::string size = bytes_text(slot.bytes);
    switch (slot.what) {
      case What::kLive:
        return "g" + std::to_string(slot.who) + "\u2019s stack, " + size;
      case What::kKept:
        return "kept by dead g" + std::to_string(slot.who);
      case What::kCached:
        return "cached, p" + std::to_string(slot.who);
      case What::kDeferred:
        return "deferred, " + (slot.who < 0 ? size : "was g" + std::to_string(slot.who) + "\u2019s");
      case What::kMoving:
        return slot.who < 0 ? "new, " + size : "g" + std::to_string(slot.who) + "\u2019s old stack";
      default:
        return "free, " + size;
    }
  }

  void records(const Rows& rows) {
    for (const Run<RecordMark>& run :
         runs_of<RecordMark>(steps_.size(), [&](size_t c) { return records_of(shot(c)); })) {
      const RecordMark& mark = run.thing;
      const double x = left(run.first) + 14;
      const double y = rows.row_of(mark.address, mark.kind);
      const bool stray = mark.place == Place::kStray;
      std::string text(kRootNames[static_cast<size_t>(mark.kind)]);
      if (mark.place != Place::kInside) text += " of g" + std::to_string(mark.goroutine);
      if (stray) text += ": astray";
      const double from = x + 12 + kLetter * static_cast<double>(text.size());
      svg_.line(from, y, left(run.last + 1) - 8, y, stray ? "thread stray" : "thread");
      svg_.add("<path d=\"M%.1f %.1f l4 -4 l4 4 l-4 4 z\" class=\"%s\"/>", x - 4, y, stray ? "record stray" : "record");
      svg_.text(x + 8, y + 3.5, stray ? "t small badtext" : "t small", text);
    }
  }

  void addresses(const Rows& rows) {
    double free_from = 0;
    for (const uint64_t base : rows.bases()) {
      const double y = rows.top_of_span(base) + 11;
      if (y < free_from) continue;
      svg_.text(kLeft - 6, y, "t small end", offset_text(base));
      free_from = y + 11;
    }
  }

  // ---- words ----

  double stories(double top) {
    size_t most = 0;
    for (size_t column = 0; column < steps_.size(); ++column) {
      const std::vector<StoryLine> lines = story_lines(column);
      double y = top + 10;
      for (const StoryLine& line : lines) {
        svg_.text(left(column) + 6, y, line.bad ? "t small badtext" : "t small", line.text);
        y += kTextLine;
      }
      most = std::max(most, lines.size());
    }
    return top + kTextLine * static_cast<double>(most) + 4;
  }

  struct StoryLine {
    std::string text;
    bool bad = false;
  };

  std::vector<StoryLine> story_lines(size_t column) const {
    const Snapshot nothing;
    const Snapshot& before =
        column == 0 ? (recording_.steps_left_out == 0 ? nothing : steps_[0]->after) : steps_[column - 1]->after;
    std::vector<StoryLine> lines;
    for (const std::string& event : story_of(*steps_[column], before)) {
      const std::vector<std::string> parts = wrapped(event, kLetters - 2);
      for (size_t i = 0; i < parts.size(); ++i)
        lines.push_back({(i == 0 ? "\u00b7 " : "\u2002 ") + parts[i], is_bad(event)});
    }
    return lines;
  }

  void fatal(double bottom) {
    if (!fails()) return;
    const double x = left(steps_.size() - 1);
    svg_.box(x + 0.5, 18, kColumn - 1, bottom - 17, "fatal");
    svg_.text(right(), 13, "t end badtext", recording_.signature + ": seen here");
  }

  const Recording& recording_;
  std::vector<const Step*> steps_;
  std::vector<Tenants> tenants_;  // by column
  std::vector<Group> groups_;
  std::vector<Holding> holdings_;
  std::map<size_t, double> lanes_;
  Svg svg_;
};

}  // namespace

std::string picture_of(const Recording& recording) {
  return Picture(recording).draw();
}

}  // namespace stackdrain
