#include "fuzz/trace.h"

#include <bit>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <unordered_map>

namespace stackdrain {
namespace {

constexpr std::string_view kHeader = "dns,k,p,g,addr,a,b,c";
constexpr std::string_view kKinds = "AFCNXPQSMTURBE";
constexpr size_t kColumns = 8;
constexpr uint64_t kMinStack = 2048;
constexpr uint64_t kMaxStack = uint64_t{1} << 30;  // Go's own limit
constexpr int kMostProcs = 64;

// Reads rows of one trace and refuses the first that can't be.
class Reader {
 public:
  Reader(std::string_view csv, const std::string& name) : rest_(csv), name_(name) {}

  Trace read() {
    if (next_line() != kHeader) fail("is no trace: the first line must be '" + std::string(kHeader) + "'");
    Trace trace;
    while (!rest_.empty()) {
      const bool complete = rest_.find('\n') != std::string_view::npos;
      const std::string_view line = next_line();
      if (!complete) fail("the last line is cut off; get the whole file");
      const TraceEvent event = parse(line);
      check(event);
      trace.allocations += event.kind == TraceKind::kAlloc ? 1 : 0;
      trace.frees += event.kind == TraceKind::kFree ? 1 : 0;
      trace.procs = std::max(trace.procs, event.proc + 1);
      trace.events.push_back(event);
    }
    trace.peak_bytes = peak_bytes_;
    return trace;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw TraceError(name_ + ":" + std::to_string(line_) + ": " + what);
  }

  std::string_view next_line() {
    ++line_;
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return line;
  }

  template <class T>
  T number(std::string_view text, int base, const char* column) const {
    T value{};
    if (text.empty()) return value;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size()) {
      fail(std::string("column ") + column + " is no number: '" + std::string(text.substr(0, 40)) +
           "'; the file is damaged");
    }
    return value;
  }

  TraceEvent parse(std::string_view line) const {
    std::string_view columns[kColumns];
    size_t count = 0;
    for (size_t at = 0; at <= line.size();) {
      const size_t comma = std::min(line.find(',', at), line.size());
      if (count == kColumns) fail("has more than 8 columns; the file is damaged");
      columns[count++] = line.substr(at, comma - at);
      at = comma + 1;
    }
    if (count != kColumns) fail("has " + std::to_string(count) + " columns, not 8; the file is damaged or cut off");
    TraceEvent event;
    event.dns = number<int64_t>(columns[0], 10, "dns");
    if (columns[1].size() != 1 || kKinds.find(columns[1][0]) == std::string_view::npos) {
      fail("unknown event '" + std::string(columns[1].substr(0, 20)) + "'; known are " + std::string(kKinds));
    }
    event.kind = static_cast<TraceKind>(columns[1][0]);
    event.proc = columns[2] == "-" ? -1 : number<int32_t>(columns[2], 10, "p");
    if (event.proc < -1 || event.proc >= kMostProcs)
      fail("processor " + std::to_string(event.proc) + " is not 0..63 or -");
    event.goroutine = number<uint32_t>(columns[3], 10, "g");
    event.address = number<uint64_t>(columns[4], 16, "addr");
    event.a = number<uint64_t>(columns[5], 10, "a");
    event.b = number<uint64_t>(columns[6], 10, "b");
    event.c = number<uint64_t>(columns[7], 10, "c");
    return event;
  }

  void check(const TraceEvent& event) {
    switch (event.kind) {
      case TraceKind::kAlloc:
        check_alloc(event);
        break;
      case TraceKind::kFree:
        check_live(event, "freed");
        live_.erase(event.address);
        live_bytes_ -= event.a;
        break;
      case TraceKind::kCopy:
        check_live(event, "copied");
        check_copy(event);
        break;
      case TraceKind::kNew:
      case TraceKind::kExit:
        check_live(event, event.kind == TraceKind::kNew ? "given to a new goroutine" : "of an exiting goroutine");
        break;
      case TraceKind::kSpanTaken:
        if (!spans_.emplace(event.address, event.a).second)
          fail("span " + hex(event.address) + " is taken twice; " + kOrder);
        break;
      case TraceKind::kSpanGiven:
        if (spans_.erase(event.address) == 0)
          fail("span " + hex(event.address) + " is given back and was not taken; " + kOrder);
        break;
      default:
        check_phase(static_cast<char>(event.kind));
    }
  }

  void check_alloc(const TraceEvent& event) {
    if (event.a < kMinStack || event.a > kMaxStack || !std::has_single_bit(event.a)) {
      fail("stack size " + std::to_string(event.a) + " is no power of two from 2048 to 1 GiB; the file is damaged");
    }
    if (event.address > UINT64_MAX - event.a) fail("stack " + hex(event.address) + " ends beyond all addresses");
    const auto next = live_.lower_bound(event.address);
    const bool hits_next = next != live_.end() && next->first < event.address + event.a;
    const bool hits_previous =
        next != live_.begin() && std::prev(next)->first + std::prev(next)->second > event.address;
    if (hits_next || hits_previous) fail("stack " + hex(event.address) + " overlaps a live one; " + kOrder);
    live_.emplace(event.address, event.a);
    live_bytes_ += event.a;
    peak_bytes_ = std::max(peak_bytes_, live_bytes_);
  }

  void check_live(const TraceEvent& event, const char* what) const {
    const auto at = live_.find(event.address);
    if (at == live_.end()) fail("stack " + hex(event.address) + " " + what + " is not live; " + kOrder);
    if (at->second != event.a) {
      fail("stack " + hex(event.address) + " " + what + " has " + std::to_string(at->second) + " bytes, not " +
           std::to_string(event.a) + "; the file is damaged");
    }
  }

  void check_copy(const TraceEvent& event) const {
    const bool right = event.b > event.a ? std::has_single_bit(event.b) : event.b * 2 == event.a;
    if (!right) {
      fail("a copy from " + std::to_string(event.a) + " to " + std::to_string(event.b) +
           " bytes is neither a growth nor a halving; the file is damaged");
    }
  }

  // (S M T (U T)* R B E)*, the last cycle maybe unfinished: what may follow.
  static std::string_view after(char phase) {
    constexpr std::string_view kPhases = "ESMTURB";
    constexpr std::string_view kNext[] = {"S", "M", "T", "UR", "T", "B", "E"};
    return kNext[kPhases.find(phase)];
  }

  void check_phase(char kind) {
    const std::string_view allowed = after(phase_);
    if (allowed.find(kind) == std::string_view::npos) {
      fail(std::string("phase '") + kind + "' after '" + phase_ + "', where only '" + std::string(allowed) +
           "' can come; " + kOrder);
    }
    phase_ = kind;
  }

  static std::string hex(uint64_t address) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%" PRIx64, address);
    return text;
  }

  static constexpr const char* kOrder = "rows are missing or out of order";

  std::string_view rest_;
  std::string name_;
  size_t line_ = 0;
  std::map<uint64_t, uint64_t> live_;
  std::unordered_map<uint64_t, uint64_t> spans_;
  uint64_t live_bytes_ = 0;
  uint64_t peak_bytes_ = 0;
  char phase_ = 'E';
};

}  // namespace

Trace parse_trace(std::string_view csv, const std::string& name) {
  Trace trace = Reader(csv, name).read();
  trace.name = name.substr(name.find_last_of('/') + 1);
  if (const size_t dot = trace.name.find('.'); dot != std::string::npos) trace.name.resize(dot);
  return trace;
}

}  // namespace stackdrain
