#include "fuzz/schedule_picture.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <span>
#include <utility>

#include "fuzz/timeline_html.h"

namespace stackdrain {
namespace {

constexpr size_t kMaxBytesOfSchedule = 255;

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  line = line.substr(0, line.find('#'));
  while (!line.empty()) {
    const size_t begin = std::min(line.find_first_not_of(" \t\r"), line.size());
    const size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
    if (end > begin) words.push_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
  return words;
}

std::optional<unsigned> number(std::string_view text, unsigned most) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

// `WHO+POINTS` or a priority.
std::optional<uint8_t> schedule_byte(std::string_view word, bool priorities) {
  if (priorities) {
    const std::optional<unsigned> value = number(word, 255);
    return value ? std::optional(static_cast<uint8_t>(*value)) : std::nullopt;
  }
  const size_t plus = word.find('+');
  if (plus == std::string_view::npos) return std::nullopt;
  const std::optional<unsigned> who = number(word.substr(0, plus), 7);
  const std::optional<unsigned> points = number(word.substr(plus + 1), 31);
  if (!who || !points) return std::nullopt;
  return static_cast<uint8_t>(*who | *points << 3);
}

// The mode's bits that a line about memory says; 0 of any other.
uint8_t memory_of(std::span<const std::string_view> words) {
  if (words.empty() || words[0] != "weak-memory") return 0;
  if (words.size() == 1) return kWeakMemory;
  return words.size() == 2 && words[1] == "deep" ? kWeakMemory | kDeepBuffer : 0;
}

// An input taken apart, to leave something out.
struct Draft {
  uint8_t mode = 0;
  std::vector<uint16_t> program;
  std::vector<uint8_t> schedule;

  explicit Draft(const std::vector<uint8_t>& bytes) {
    const ScheduleInput input(bytes.data(), bytes.size());
    mode = bytes.empty() ? uint8_t{0} : static_cast<uint8_t>(bytes[0] & 3);
    for (size_t i = 0; i < input.program.size(); ++i) program.push_back(encode_operation(input.program[i]));
    schedule.assign(input.schedule.begin(), input.schedule.end());
  }
  std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> all = {mode, static_cast<uint8_t>(schedule.size())};
    for (const uint16_t word : program) {
      all.push_back(static_cast<uint8_t>(word & 0xff));
      all.push_back(static_cast<uint8_t>(word >> 8));
    }
    all.insert(all.end(), schedule.begin(), schedule.end());
    return all;
  }
};

// Leaves out runs of `part`, long ones first, while `holds`; whether anything went.
template <class T, class Holds>
bool shorten(std::vector<T>& part, Holds holds) {
  bool any = false;
  for (size_t run = std::max<size_t>(1, part.size() / 2); run > 0; run /= 2) {
    for (size_t at = 0; at + run <= part.size();) {
      std::vector<T> whole = part;
      part.erase(part.begin() + static_cast<ptrdiff_t>(at), part.begin() + static_cast<ptrdiff_t>(at + run));
      if (holds()) {
        any = true;
      } else {
        part = std::move(whole);
        ++at;
      }
    }
  }
  return any;
}

std::string operation_text(const ScheduleInput& input, size_t index) {
  if (index >= input.program.size()) return "end of the program";
  std::array<char, kMaxOperationText> text;
  return {text.data(), format_operation(input.program[index], text.data(), text.size())};
}

// ---- the picture ----

constexpr int kLane = 44;
constexpr int kLeft = 40;
constexpr int kTop = 24;
constexpr int kColumn = 14;

class Svg {
 public:
  template <class... Args>
  void add(const char* format, Args... args) {
    std::array<char, 1024> part;
    const int size = std::snprintf(part.data(), part.size(), format, args...);
    if (size > 0) text_.append(part.data(), std::min(part.size() - 1, static_cast<size_t>(size)));
  }
  void raw(const std::string& text) { text_ += text; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// The steps to draw: where nothing went wrong, what the end of every program does is left out.
std::span<const ScheduleStep> drawn(const Scheduler& scheduler) {
  std::span<const ScheduleStep> steps = scheduler.steps();
  if (scheduler.verdict().violated) return steps;
  const size_t operations = scheduler.input().program.size();
  size_t count = 0;
  while (count < steps.size() && steps[count].operation < operations) ++count;
  return steps.first(count);
}

// Of the operation under way: one bar from its beginning to its end, light where its actor does not run.
void draw_bars(Svg& svg, const Scheduler& scheduler, std::span<const ScheduleStep> steps,
               const std::array<int, kActors>& lane) {
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].point != Point::kBegin) continue;
    size_t last = i;
    for (size_t j = i + 1; j < steps.size(); ++j) {
      if (steps[j].actor != steps[i].actor) continue;
      if (steps[j].point == Point::kBegin) break;
      last = j;
    }
    const int x = kLeft + static_cast<int>(i) * kColumn;
    const int width = static_cast<int>(last - i + 1) * kColumn - 2;
    const int y = kTop + lane[steps[i].actor] * kLane;
    svg.add("<rect x='%d' y='%d' width='%d' height='18' rx='3' fill='#dfe7f5'/>", x, y + 16, width);
    svg.add("<text x='%d' y='%d' font-size='11'>%s</text>", x, y + 12,
            escaped(operation_text(scheduler.input(), steps[i].operation)).c_str());
  }
}

void draw_steps(Svg& svg, std::span<const ScheduleStep> steps, const std::array<int, kActors>& lane) {
  for (size_t i = 0; i < steps.size(); ++i) {
    const int x = kLeft + static_cast<int>(i) * kColumn;
    const int y = kTop + lane[steps[i].actor] * kLane + 16;
    svg.add("<rect x='%d' y='%d' width='%d' height='18' fill='#5b7fc7'><title>step %zu, %s: %s</title></rect>", x, y,
            kColumn - 2, i, kActorNames[steps[i].actor].data(), std::string(name_of(steps[i].point)).c_str());
    if (i + 1 == steps.size() || steps[i + 1].actor == steps[i].actor) continue;
    const int to = kTop + lane[steps[i + 1].actor] * kLane + 25;
    svg.add("<path d='M%d %d V%d' stroke='%s' fill='none' stroke-width='1.5'/>", x + kColumn - 1, y + 9, to,
            steps[i].switched ? "#d9822b" : "#b8c2d3");
  }
}

std::string picture(const Scheduler& scheduler) {
  const std::span<const ScheduleStep> steps = drawn(scheduler);
  std::array<int, kActors> lane;
  lane.fill(-1);
  for (const ScheduleStep& step : steps) lane[step.actor] = 0;
  int lanes = 0;
  for (int& at : lane) at = at < 0 ? -1 : lanes++;
  const int width = kLeft + static_cast<int>(steps.size()) * kColumn + 160;
  const int height = kTop + lanes * kLane + 20;
  Svg svg;
  svg.add("<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' font-family='sans-serif'>", width, height);
  for (size_t actor = 0; actor < kActors; ++actor) {
    if (lane[actor] < 0) continue;
    const int y = kTop + lane[actor] * kLane;
    svg.add("<text x='8' y='%d' font-size='13' font-weight='bold'>%s</text>", y + 30, kActorNames[actor].data());
    svg.add("<path d='M%d %d H%d' stroke='#e3e3e3'/>", kLeft, y + 40, width);
  }
  draw_bars(svg, scheduler, steps, lane);
  draw_steps(svg, steps, lane);
  if (scheduler.verdict().violated && !steps.empty()) {
    const int x = kLeft + static_cast<int>(steps.size()) * kColumn;
    svg.add("<path d='M%d %d V%d' stroke='#c22' stroke-width='2' stroke-dasharray='5 3'/>", x, kTop - 8, height - 8);
    svg.add("<text x='%d' y='%d' font-size='12' fill='#c22' font-weight='bold'>%s</text>", x + 4, kTop - 8 + 8,
            id_of(scheduler.verdict().violation.invariant).data());
  }
  svg.raw("</svg>");
  return svg.text();
}

}  // namespace

std::string schedule_text(const ScheduleInput& input) {
  const char* memory = input.deep_buffer ? "weak-memory deep\n" : input.weak_memory ? "weak-memory\n" : "";
  std::string text = memory + to_text(input.program);
  if (!input.schedule.empty()) text += input.priorities ? "priorities" : "switch";
  for (const uint8_t byte : input.schedule) {
    text += ' ';
    text += input.priorities ? std::to_string(byte) : std::to_string(byte & 7) + "+" + std::to_string(byte >> 3);
  }
  if (!input.schedule.empty()) text += '\n';
  return text;
}

std::optional<ParseError> parse_schedule(std::string_view text, std::vector<uint8_t>& bytes) {
  std::string program;
  std::vector<uint8_t> schedule;
  uint8_t mode = 0;
  for (size_t line = 1; !text.empty(); ++line) {
    const std::string_view whole = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), whole.size() + 1));
    const std::vector<std::string_view> words = words_of(whole);
    const uint8_t memory = memory_of(words);
    const bool ours = memory != 0 || (!words.empty() && (words[0] == "switch" || words[0] == "priorities"));
    // An empty line in the program's place, so that the program's own errors name the right one.
    if (!ours) program += whole;
    program += '\n';
    if (!ours) continue;
    mode |= memory;
    if (memory != 0) continue;
    if (words[0] == "priorities") mode |= kPriorities;
    for (size_t i = 1; i < words.size(); ++i) {
      const std::optional<uint8_t> byte = schedule_byte(words[i], (mode & kPriorities) != 0);
      if (!byte) {
        return ParseError{line, "'" + std::string(words[i]) +
                                    "' is no part of a schedule; write WHO+POINTS (0..7+0..31) " +
                                    "behind switch, 0..255 behind priorities"};
      }
      schedule.push_back(*byte);
    }
  }
  if (schedule.size() > kMaxBytesOfSchedule) return ParseError{1, "a schedule has at most 255 entries"};
  bytes = {mode, static_cast<uint8_t>(schedule.size())};
  if (std::optional<ParseError> error = parse_text(program, bytes)) return error;
  bytes.insert(bytes.end(), schedule.begin(), schedule.end());
  return std::nullopt;
}

std::vector<uint8_t> minimize_schedule(Scheduler& scheduler, std::vector<uint8_t> input, const PolicyRow& policy) {
  const Invariant invariant = scheduler.run({input.data(), input.size()}, policy).violation.invariant;
  Draft draft(input);
  const auto holds = [&] {
    const std::vector<uint8_t> bytes = draft.bytes();
    const ScheduleVerdict& verdict = scheduler.run({bytes.data(), bytes.size()}, policy);
    return verdict.violated && verdict.violation.invariant == invariant;
  };
  for (const unsigned bits : {unsigned{kPriorities}, unsigned{kWeakMemory | kDeepBuffer}, unsigned{kDeepBuffer}}) {
    const uint8_t mode = std::exchange(draft.mode, static_cast<uint8_t>(draft.mode & ~bits));
    if (!holds()) draft.mode = mode;
  }
  while (shorten(draft.schedule, holds) || shorten(draft.program, holds)) {
  }
  return draft.bytes();
}

std::string schedule_page(const Scheduler& scheduler, const PolicyRow& policy, std::string_view reproduce) {
  const ScheduleVerdict& verdict = scheduler.verdict();
  std::string headline = "policy " + std::string(policy.name);
  if (verdict.violated) {
    headline += " violates " + std::string(id_of(verdict.violation.invariant)) + " at step " +
                std::to_string(verdict.steps == 0 ? 0 : verdict.steps - 1) + ", " +
                std::string(kActorNames[verdict.actor]) + " in " + operation_text(scheduler.input(), verdict.operation);
  } else {
    headline += " passes";
  }
  std::string page = "<!doctype html><html lang='en'><meta charset='utf-8'><title>" + escaped(headline) +
                     "</title><style>body{font-family:sans-serif;margin:24px;color:#222}pre{background:#f6f6f6;"
                     "padding:12px}div{overflow-x:auto}</style><h1>" +
                     escaped(headline) + "</h1>";
  if (verdict.violated) page += "<p>" + escaped(verdict.violation.message.data()) + "</p>";
  page +=
      "<p>One lane an actor: c the collector, p processors, m markers, d drainers, w a watcher. A dark step ran, a "
      "light "
      "bar is an operation that waits for its actor's next turn; orange: interrupted.</p><div>" +
      picture(scheduler) + "</div><h2>The input</h2><pre>" + escaped(schedule_text(scheduler.input())) + "</pre>";
  if (!reproduce.empty()) page += "<p><code>" + escaped(reproduce) + "</code></p>";
  return page + "</html>\n";
}

}  // namespace stackdrain
