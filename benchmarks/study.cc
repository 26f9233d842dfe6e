// stackdrain_study: runs the drain and pause studies over a matrix of cases and writes results.json's measured
// sections.
//
// What it takes is bounded: --seconds is handed out to the cases by their share of the work that is left; each gets
// fewer repetitions when its share is used up, and when all is used up the cases that are left are skipped. Drains that
// were skipped are measured after all if the pauses leave time for it; what is skipped in the end is said to be.
//
// Each group of cases that fits into memory together is measured in turns, one repetition of each after the other, so
// that a noisy moment hits them alike; the pair of drain and chase is always within one repetition. Progress goes to
// standard error with an estimate. Ctrl-C ends the run after the repetition under way; what was measured is written,
// whole, by a rename.
#include <sys/stat.h>
#include <sys/utsname.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "benchmarks/drain_study.h"
#include "benchmarks/go_study.h"
#include "benchmarks/pause_study.h"
#include "benchmarks/recorder.h"
#include "benchmarks/workload_study.h"
#include "nlohmann/json.hpp"

ABSL_FLAG(bool, quick, false, "fewer cases and repetitions: about a minute");
ABSL_FLAG(bool, full, false, "more stacks (4 Mi), more cases, three times the repetitions: under an hour");
ABSL_FLAG(double, seconds, 0, "what all of it may take; 0: 60, with --full 3000, else 300");
ABSL_FLAG(std::string, out, "results.json", "where to write");
ABSL_FLAG(std::vector<std::string>, policies, {}, "policies to measure, with commas; default all");
ABSL_FLAG(std::string, commit, "", "the commit measured, for the context");
ABSL_FLAG(std::string, command, "stackdrain_study", "the command line to note in the context");

namespace stackdrain {
namespace {

using nlohmann::json;

std::atomic<bool> interrupted{false};

constexpr size_t kKi = 1024;
constexpr size_t kMi = kKi * kKi;

enum class Extent { kQuick, kUsual, kFull };

// Resident memory that one group of rigs may take together, in bytes.
constexpr size_t kMemoryBudget = size_t{9} << 30;

// ---- the matrix ----

// Which variants a sweep takes.
enum class Take {
  kEvery,         // each way of holding the lock, and the known-bad control
  kFirst,         // each policy's first way
  kDeferring,     // ... of those that defer shrunk stacks: the same queue, drained at two times
  kDrainInPause,  // sound policies whose drain is in the pause
  kQueueInPause,  // ... of them those that queue every shrunk stack: serial and what was made of it
};

struct Sweep {
  std::vector<size_t> stacks;
  std::vector<size_t> bytes;
  Take take;
  bool address_too;  // also by address, not only at random; of those that drain in the pause
  bool half_too;     // also with half of the stacks staying
  bool warm_too;     // also with only the stacks' lines flushed; of those that don't drain in the pause
};

// What is left out for time are the last: the headline's sizes come first.
std::vector<Sweep> sweeps(Extent extent) {
  if (extent == Extent::kQuick) {
    return {{{16, kKi, 16 * kKi, 64 * kKi, 100 * kKi}, {4096}, Take::kFirst, false, false, true},
            {{4 * kKi, 64 * kKi}, {2048}, Take::kFirst, true, true, true},
            {{kKi, 64 * kKi}, {8192, 32768}, Take::kDrainInPause, true, false, false},
            {{kMi}, {4096}, Take::kDeferring, false, false, true}};
  }
  std::vector<Sweep> usual = {{{16, 128, kKi, 16 * kKi, 100 * kKi}, {4096}, Take::kFirst, true, false, true},
                              {{8 * kKi}, {4096}, Take::kEvery, true, false, true},
                              {{kMi}, {4096}, Take::kFirst, false, false, true},
                              {{8 * kKi}, {2048, 8192, 16384}, Take::kFirst, false, false, false},
                              {{4 * kKi, 64 * kKi}, {2048}, Take::kFirst, true, true, true},
                              {{kKi, 64 * kKi}, {8192, 32768}, Take::kFirst, true, true, false}};
  // All policies have these in the full study, below: a shape measured twice would be two points of one line.
  if (extent == Extent::kUsual) usual.push_back({{256 * kKi}, {2048, 32768}, Take::kQueueInPause, false, false, false});
  usual.push_back({{kMi}, {2048, 8192, 32768}, Take::kQueueInPause, false, false, false});
  if (extent == Extent::kUsual) return usual;
  usual.push_back({{32 * kKi, 64 * kKi, 256 * kKi}, {4096}, Take::kEvery, true, true, true});
  usual.push_back({{16 * kKi, 256 * kKi}, {2048, 8192, 32768}, Take::kFirst, true, true, true});
  usual.push_back({{2 * kMi}, {4096}, Take::kFirst, true, false, true});
  usual.push_back({{4 * kMi}, {2048}, Take::kFirst, false, false, true});
  usual.push_back({{4 * kMi}, {4096}, Take::kDeferring, false, false, true});
  return usual;
}

int repetitions_of(size_t stacks, Extent extent) {
  const int times = extent == Extent::kFull ? 3 : 1;
  const bool quick = extent == Extent::kQuick;
  if (stacks > kMi) return 7;
  if (stacks >= kMi) return times * (quick ? 2 : 3);
  if (stacks >= 64 * kKi) return times * (quick ? 4 : 9);
  return times * (quick ? 11 : 21);
}

// What the study may take, in seconds, when nobody says.
double usual_seconds(Extent extent) {
  switch (extent) {
    case Extent::kQuick:
      return 60;
    case Extent::kUsual:
      return 300;
    case Extent::kFull:
      return 3000;
  }
  return 0;
}
constexpr int kLeastRepetitions = 3;

bool drains_in_pause(const PolicyRow& policy) {
  return policy.claims.sound && policy.claims.empties_in_pause;
}

bool takes(Take take, const PolicyRow& policy, bool seen) {
  switch (take) {
    case Take::kEvery:
      return true;
    case Take::kFirst:
      return !seen;
    case Take::kDeferring:
      return !seen && policy.claims.defers_shrunk;
    case Take::kDrainInPause:
      return drains_in_pause(policy);
    case Take::kQueueInPause:
      return drains_in_pause(policy) && policy.claims.defers_shrunk && !policy.claims.shrinks_in_place;
  }
  return false;
}

// A rig's case, and whether it is measured warm too (on the same rig: setting one up is what costs).
struct GroupCase {
  DrainCase drain_case;
  bool warm_too = false;
};

struct Group {
  std::vector<GroupCase> cases;
  int repetitions = 0;
};

void add_group(std::vector<Group>& groups, const std::vector<Variant>& variants, Take take, bool warm_too,
               DrainCase shape, Extent extent) {
  Group group;
  group.repetitions = repetitions_of(shape.stacks, extent);
  const PolicyRow* last = nullptr;
  for (const Variant& variant : variants) {
    // Who drains makes no difference where no mutator runs.
    if (variant.by_mutators) continue;
    if (!takes(take, *variant.policy, variant.policy == last)) continue;
    last = variant.policy;
    shape.variant = variant;
    group.cases.push_back({shape, warm_too && !drains_in_pause(*variant.policy)});
  }
  if (!group.cases.empty()) groups.push_back(group);
}

std::vector<Group> drain_groups(const std::vector<Variant>& variants, Extent extent) {
  std::vector<Group> groups;
  for (const Sweep& sweep : sweeps(extent)) {
    for (const size_t bytes : sweep.bytes) {
      for (const size_t stacks : sweep.stacks) {
        DrainCase shape{.variant = {}, .stacks = stacks, .bytes = bytes};
        add_group(groups, variants, sweep.take, sweep.warm_too, shape, extent);
        if (sweep.half_too) {
          shape.half = true;
          add_group(groups, variants, sweep.take, sweep.warm_too, shape, extent);
          shape.half = false;
        }
        if (!sweep.address_too) continue;
        shape.random = false;
        shape.aged = false;
        add_group(groups, variants, std::max(sweep.take, Take::kDrainInPause), false, shape, extent);
      }
    }
  }
  return groups;
}

// ---- progress ----

// On a terminal one line that moves; elsewhere a line for each tenth.
class Progress {
 public:
  // `seconds`: what all of it may take at most.
  Progress(double total, double seconds) : total_(total), seconds_(seconds), start_(now_ns()) {}
  void add(double work, const std::string& what) {
    done_ += work;
    const double part = done_ / total_;
    if (!terminal_ && part < next_) return;
    while (next_ <= part) next_ += 0.1;
    const double seconds = static_cast<double>(now_ns() - start_) / 1e9;
    const double left = std::min(seconds * (total_ - done_) / std::max(done_, 1.0), std::max(0.0, seconds_ - seconds));
    std::fprintf(stderr,
                 terminal_ ? "\r[%3.0f %%] %4.0f s, about %4.0f s left: %-48.48s"
                           : "[%3.0f %%] %4.0f s, about %4.0f s left: %s\n",
                 100 * part, seconds, left, what.c_str());
    std::fflush(stderr);
  }
  ~Progress() {
    if (terminal_) std::fprintf(stderr, "\n");
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1;
  double total_;
  double seconds_;
  double done_ = 0;
  double next_ = 0.1;
  int64_t start_;
};

std::string label(const Variant& variant) {
  const std::string policy(variant.policy->name);
  return variant.name.empty() ? policy : policy + ", " + variant.name;
}

// What a case costs, about, in units of the same kind for every case: setting up and repetitions.
double work_of(const GroupCase& one, int repetitions) {
  const double live = static_cast<double>(one.drain_case.stacks) * (one.drain_case.half ? 2 : 1);
  return (live + 20000) * (repetitions * (one.warm_too ? 3 : 1) + 3);
}

// ---- drain ----

json drain_row(const DrainCase& drain_case, CacheState cache, const std::vector<DrainSample>& samples) {
  json row = {{"policy", drain_case.variant.policy->name},
              {"variant", drain_case.variant.name},
              {"stacks", drain_case.stacks},
              {"stack_bytes", drain_case.bytes},
              {"order", drain_case.random ? "random" : "address"},
              {"share", drain_case.half ? "half" : "all"},
              {"cache", cache == CacheState::kCold ? "cold" : "warm"},
              {"aged", drain_case.aged},
              {"pause_ns", json::array()},
              {"after_ns", json::array()},
              {"enqueue_ns", json::array()},
              {"chase_ns", json::array()}};
  for (const DrainSample& sample : samples) {
    row["pause_ns"].push_back(sample.pause_ns);
    row["after_ns"].push_back(sample.after_ns);
    row["enqueue_ns"].push_back(sample.enqueue_ns);
    row["chase_ns"].push_back(sample.chase_ns);
  }
  row["held_bytes"] = samples.back().held_bytes;
  row["locks_taken"] = samples.back().locks_taken;
  row["spans_released"] = samples.back().spans_released;
  if (drain_case.variant.policy->claims.keeps_reserve) {
    row["spans_kept"] = samples.back().spans_kept;
    for (const DrainSample& sample : samples) {
      row["release_ns"].push_back(sample.release_ns);
      row["idle_ns"].push_back(sample.idle_ns);
    }
  }
  return row;
}

// One rig of a group and what it measured.
struct Bench {
  GroupCase one;
  std::unique_ptr<DrainRig> rig;
  std::vector<DrainSample> cold;
  std::vector<DrainSample> warm;

  void repeat(CacheFlusher& flusher) {
    cold.push_back(rig->run(flusher, CacheState::kCold));
    if (!one.warm_too) return;
    // A cold run ends with all flushed, so what runs first after it is cold, too, whatever it flushes itself: the
    // instructions of a release came from memory, 130 ns a line.
    rig->run(flusher, CacheState::kWarm);
    warm.push_back(rig->run(flusher, CacheState::kWarm));
  }
};

// Hands out what is left of the time: a case may take its share, by its share of the work that is left. What a case
// does not use goes to those that follow.
class Allowance {
 public:
  Allowance(double seconds, double work)
      : begin_(now_ns()), end_(begin_ + static_cast<int64_t>(seconds * 1e9)), left_(work) {}
  // When a case that begins now and does so much of the work is to end, ns of the clock.
  int64_t until(double work) const {
    const int64_t now = now_ns();
    return now + static_cast<int64_t>(static_cast<double>(end_ - now) * std::min(1.0, work / std::max(left_, 1.0)));
  }
  void done(double work) { left_ -= work; }
  bool over() const { return now_ns() > end_; }
  // What was really done, and whether so much more is over in time at that speed.
  void took(double work) { took_ += work; }
  bool fits(double work) const { return pace() == 0 || pace() * work < static_cast<double>(end_ - now_ns()); }
  // Nanoseconds for a unit of work, so far; 0: nothing is known.
  double pace() const { return took_ == 0 ? expected_ : static_cast<double>(now_ns() - begin_) / took_; }
  // ... what it was for others of the kind, until there is something of its own.
  void expect(double pace) { expected_ = pace; }
  void cut() { ++cut_; }
  // A pool has not so many stacks: the case is left out, and the results say so.
  void refuse(const Variant& variant, size_t stacks, const char* study) {
    refused_.push_back(std::string(variant.policy->name) + ": no memory for " + std::to_string(stacks) +
                       " stacks; left out of the " + study);
  }
  void skip(const std::string& what) { skipped_.push_back(what); }
  // What was left out, as notes.
  void tell(const std::string& kind, json& notes) const {
    if (cut_ != 0) {
      notes.push_back(std::to_string(cut_) + " cases of the " + kind +
                      " have fewer repetitions than planned, for time");
    }
    for (const std::string& line : refused_) notes.push_back(line);
    if (skipped_.empty()) return;
    constexpr size_t kNamed = 8;
    std::string text;
    for (size_t i = 0; i < std::min(kNamed, skipped_.size()); ++i) text += (i == 0 ? "" : "; ") + skipped_[i];
    if (skipped_.size() > kNamed) text += " and " + std::to_string(skipped_.size() - kNamed) + " more";
    notes.push_back("of the " + kind + ", not measured for time: " + text);
  }

 private:
  int64_t begin_;
  int64_t end_;
  double left_;
  double took_ = 0;
  double expected_ = 0;
  int cut_ = 0;
  std::vector<std::string> refused_;
  std::vector<std::string> skipped_;
};

// The cases [begin, end) of a group, in turns.
void measure_together(const Group& group, size_t begin, size_t end, CacheFlusher& flusher, Allowance& allowance,
                      Progress& progress, json& rows) {
  double work = 0;
  for (size_t i = begin; i < end; ++i) work += work_of(group.cases[i], group.repetitions);
  const int64_t until = allowance.until(work);
  std::vector<Bench> benches;
  for (size_t i = begin; i < end; ++i) {
    const DrainCase& drain_case = group.cases[i].drain_case;
    try {
      auto rig = std::make_unique<DrainRig>(drain_case, static_cast<uint32_t>(i + 1));
      benches.push_back({group.cases[i], std::move(rig), {}, {}});
    } catch (const std::bad_alloc&) {
      allowance.refuse(drain_case.variant, drain_case.stacks, "drains");
    }
  }
  // The first run also touches what was never touched; not kept.
  for (Bench& bench : benches) bench.rig->run(flusher, CacheState::kWarm);
  for (int repetition = 0; repetition < group.repetitions && !interrupted; ++repetition) {
    if (repetition >= kLeastRepetitions && now_ns() > until) {
      allowance.cut();
      break;
    }
    for (Bench& bench : benches) bench.repeat(flusher);
  }
  allowance.done(work);
  for (const Bench& bench : benches) {
    const DrainCase& drain_case = bench.one.drain_case;
    allowance.took(work_of(bench.one, static_cast<int>(bench.cold.size())));
    if (!bench.cold.empty()) rows.push_back(drain_row(drain_case, CacheState::kCold, bench.cold));
    if (!bench.warm.empty()) rows.push_back(drain_row(drain_case, CacheState::kWarm, bench.warm));
    progress.add(work_of(bench.one, group.repetitions), "drain of " + std::to_string(drain_case.stacks) + " x " +
                                                            std::to_string(drain_case.bytes) + " " +
                                                            label(drain_case.variant));
  }
}

double work_of(const Group& group, int repetitions) {
  double work = 0;
  for (const GroupCase& one : group.cases) work += work_of(one, repetitions);
  return work;
}

std::string name_of(const Group& group) {
  const DrainCase& first = group.cases.front().drain_case;
  return std::to_string(first.stacks) + " x " + std::to_string(first.bytes) + (first.random ? "" : " by address") +
         (first.half ? ", half" : "");
}

// All of a group or nothing: what stands alone in a table compares with nothing. False if there is no time for it.
bool measure_group(const Group& group, CacheFlusher& flusher, Allowance& allowance, Progress& progress, json& rows) {
  if (!allowance.fits(work_of(group, std::min(kLeastRepetitions, group.repetitions)))) {
    allowance.done(work_of(group, group.repetitions));
    return false;
  }
  size_t begin = 0;
  while (begin < group.cases.size() && !interrupted) {
    size_t end = begin;
    size_t memory = 0;
    while (end < group.cases.size() &&
           (end == begin || memory + resident_bytes_of(group.cases[end].drain_case) <= kMemoryBudget)) {
      memory += resident_bytes_of(group.cases[end++].drain_case);
    }
    measure_together(group, begin, end, flusher, allowance, progress, rows);
    begin = end;
  }
  return true;
}

// The same drain twice in turns: what difference this machine lets us see.
json measure_noise(CacheFlusher& flusher, const std::vector<Variant>& variants, Extent extent) {
  const Variant* chosen = nullptr;
  for (const Variant& variant : variants) {
    if (chosen == nullptr || (variant.policy->claims.sound && variant.policy->claims.empties_in_pause))
      chosen = &variant;
  }
  const DrainCase drain_case{.variant = *chosen, .stacks = 8 * kKi, .bytes = 4096};
  DrainRig a(drain_case, 1);
  DrainRig b(drain_case, 2);
  json ratios = json::array();
  for (int pair = 0; pair < (extent == Extent::kQuick ? 20 : 60) && !interrupted; ++pair) {
    // Who comes first changes, so that what coming first does is not taken for a difference.
    const bool a_first = pair % 2 == 0;
    const double first = (a_first ? a : b).run(flusher, CacheState::kCold).pause_ns;
    const double second = (a_first ? b : a).run(flusher, CacheState::kCold).pause_ns;
    ratios.push_back((a_first ? first : second) / std::max(1.0, a_first ? second : first));
  }
  return {{"aa_ratio", ratios},
          {"what", "pause of " + label(*chosen) + ", 8 Ki stacks of 4 KiB, two equal pools in turns"}};
}

// ---- what enqueueing touches ----

// Does giving up a stack touch its memory? Seen from outside: live stacks' pages are given back to the system, and
// those that are there again after all stacks were retired were touched.
json measure_touched(const std::vector<Variant>& variants) {
  json rows = json::array();
  const PolicyRow* last = nullptr;
  for (const Variant& variant : variants) {
    if (variant.policy == last) continue;
    last = variant.policy;
    constexpr size_t kStacks = 4096;
    constexpr size_t kBytes = 4096;
    const std::optional<size_t> touched = stacks_touched_by_retire(variant, kStacks, kBytes);
    if (!touched) continue;
    rows.push_back(
        {{"policy", variant.policy->name}, {"stacks", kStacks}, {"stack_bytes", kBytes}, {"touched", *touched}});
  }
  return rows;
}

// ---- pause ----

// Is half of a stack of so many bytes large, too: a span of its own? Such a one is not copied where it can be halved in
// place; smaller ones are, and wait in serial's queue.
bool halves_are_large(size_t bytes) {
  return bytes / 2 > order_bytes(kMaxOrders - 1);
}

constexpr int kLargeAgeing = 12;  // cycles until a mark of large stacks touches no new page

std::vector<PauseCase> pause_cases(const std::vector<Variant>& variants, Extent extent) {
  struct Shape {
    size_t stacks;
    size_t bytes;
    int mutators;
    int markers;
    int cycles;
    Take take = Take::kEvery;
    int64_t hiccup_ns = 60'000'000;
  };
  // Where worst stalls are judged, the baseline is watched for as long as the mutators are.
  std::vector<Shape> shapes = {{kKi, 8192, 1, 1, 7},
                               {16 * kKi, 8192, 1, 1, 5},
                               {256 * kKi, 8192, 1, 1, 6, Take::kEvery, kAfterRestartNs},
                               {100 * kKi, 8192, 1, 1, 5},
                               {4 * kKi, 65536, 1, 1, 5, Take::kFirst},
                               {100 * kKi, 8192, 4, 2, 3, Take::kFirst},
                               {kMi, 4096, 1, 1, 2, Take::kFirst}};
  if (extent == Extent::kQuick) {
    shapes = {
        {kKi, 8192, 1, 1, 3}, {100 * kKi, 8192, 1, 1, 3}, {256 * kKi, 8192, 1, 1, 3, Take::kFirst, kAfterRestartNs}};
  }
  std::vector<PauseCase> cases;
  cases.reserve(shapes.size() * variants.size());
  for (const Shape& shape : shapes) {
    const PolicyRow* last = nullptr;
    const bool large = halves_are_large(shape.bytes);
    for (const Variant& variant : variants) {
      if (variant.policy->claims.shrinks_in_place && !large) continue;
      if (shape.stacks >= kMi && variant.by_mutators) continue;  // it does not end in the 200 ms that are watched
      if (!takes(shape.take, *variant.policy, variant.policy == last)) continue;
      last = variant.policy;
      cases.push_back({.variant = variant,
                       .stacks = shape.stacks,
                       .bytes = shape.bytes,
                       .mutators = shape.mutators,
                       .markers = shape.markers,
                       .ageing = large ? kLargeAgeing : 1,
                       .cycles = shape.cycles * (extent == Extent::kFull ? 3 : 1),
                       .hiccup_ns = shape.hiccup_ns});
    }
  }
  return cases;
}

// One cycle of each policy whose spans are watched: nothing of it is timed.
std::vector<PauseCase> timeline_cases(const std::vector<Variant>& variants) {
  std::vector<PauseCase> cases;
  for (const Variant& variant : variants) {
    if (variant.by_mutators) continue;
    const bool second = !cases.empty() && cases.back().variant.policy == variant.policy;
    if (second && variant.hold != DrainHold::kBatch) continue;
    if (second) cases.pop_back();  // of several ways of holding the lock, the one in batches
    cases.push_back({.variant = variant, .stacks = kKi, .bytes = 8192, .cycles = 2, .watched_spans = 48});
  }
  return cases;
}

json timeline_row(const PauseCase& pause_case, const SpanTimeline& timeline) {
  json moments = json::array();
  for (const auto& [when, phase] : timeline.moments) moments.push_back({{"ns", when}, {"phase", phase}});
  return {{"policy", pause_case.variant.policy->name},
          {"variant", pause_case.variant.name},
          {"stacks", pause_case.stacks},
          {"stack_bytes", pause_case.bytes},
          {"offsets", timeline.offsets},
          {"moments", moments},
          {"states", timeline.states}};
}

json pairs_of(const std::vector<std::pair<double, double>>& pairs) {
  json told = json::array();
  for (const auto& [first, second] : pairs) told.push_back({first, second});
  return told;
}

double work_of(const PauseCase& pause_case, size_t cycles) {
  return 500000.0 * static_cast<double>(cycles) +
         6.0 * static_cast<double>(pause_case.stacks) *
             static_cast<double>(cycles + 1 + static_cast<size_t>(pause_case.ageing));  // 1: setting up
}
double work_of(const PauseCase& pause_case) {
  return work_of(pause_case, static_cast<size_t>(pause_case.cycles));
}

json pause_row(const PauseCase& pause_case, const PauseResult& result) {
  json splits = json::array();
  for (const PauseSplit& split : result.splits) {
    splits.push_back({{"stop_ns", split.stop_ns},
                      {"mark_ns", split.mark_ns},
                      {"drain_ns", split.drain_ns},
                      {"restart_ns", split.restart_ns},
                      {"resumed_ns", split.resumed_ns}});
  }
  json held = json::array();
  for (const auto& [when, bytes] : result.held) held.push_back({when, bytes});
  const auto cpus = static_cast<int>(std::thread::hardware_concurrency());
  return {{"policy", pause_case.variant.policy->name},
          {"variant", pause_case.variant.name},
          {"stacks", pause_case.stacks},
          {"stack_bytes", pause_case.bytes},
          {"mutators", pause_case.mutators},
          {"markers", pause_case.markers},
          {"oversubscribed", pause_case.mutators + 1 > cpus},
          {"splits", splits},
          {"mark_faults", result.mark_faults},
          {"drain_cpu_ns", result.drain_cpu_ns},
          {"drain_over_ns", result.drain_over_ns},
          {"stall_ns", result.stall_ns},
          {"hiccup_ns", result.hiccup_ns},
          {"hiccup_window_ns", pause_case.hiccup_ns},
          {"stalls", pairs_of(result.stalls)},
          {"hiccup_stalls", pairs_of(result.hiccup_stalls)},
          {"stalls_from_ns", result.stalls_from_ns},
          {"watched_ns", result.watched_ns},
          {"switches", result.switches},
          {"latency", result.latency.to_json()},
          {"latency_corrected", result.latency.corrected(static_cast<int64_t>(result.expected_interval_ns)).to_json()},
          {"expected_interval_ns", result.expected_interval_ns},
          {"held", held}};
}

// ---- real Go's own program, and workloads ----

// One of the smaller measurements: what it is called, how much work, and what it does.
struct Task {
  std::string what;
  double work;
  std::function<void(json& results)> run;
};

// As in reports/data: n and sizes that real Go was asked; of the policy that was real Go's then, the first that drains
// a queue in the pause.
void add_go_tasks(std::vector<Task>& tasks, const std::vector<Variant>& variants, Extent extent,
                  CacheFlusher& flusher) {
  const auto serial = std::find_if(variants.begin(), variants.end(), [](const Variant& variant) {
    return takes(Take::kQueueInPause, *variant.policy, false);
  });
  if (serial == variants.end()) return;
  struct Shape {
    size_t bytes;
    std::vector<size_t> stacks;
  };
  std::vector<Shape> shapes = {{4096, {1000, 10'000, 100'000}}, {8192, {1000, 10'000, 100'000}}};
  if (extent != Extent::kQuick) {
    shapes[0].stacks.push_back(1'000'000);
    shapes.push_back({32768, {1000, 10'000}});
  }
  if (extent == Extent::kFull) {
    shapes[1].stacks.push_back(1'000'000);
    shapes[2].stacks.push_back(100'000);
    shapes.push_back({16384, {1000, 10'000, 100'000}});
    shapes.push_back({65536, {1000, 10'000}});
  }
  for (const Shape& shape : shapes) {
    for (const size_t stacks : shape.stacks) {
      for (const bool cold : {true, false}) {
        const GoCase go_case{.policy = serial->policy, .stacks = stacks, .bytes = shape.bytes, .cold = cold};
        tasks.push_back({"real Go's program, " + std::to_string(stacks) + " x " + std::to_string(shape.bytes),
                         static_cast<double>(stacks * shape.bytes) / 400 + 20000, [go_case, &flusher](json& results) {
                           results["go_program"].push_back({{"policy", go_case.policy->name},
                                                            {"stacks", go_case.stacks},
                                                            {"stack_bytes", go_case.bytes},
                                                            {"cache", go_case.cold ? "cold" : "as left"},
                                                            {"drain_ns", run_go_study(go_case, flusher)}});
                         }});
      }
    }
  }
}

// ... and those that shrink in place, which have no drain of their own.
std::vector<Variant> with_in_place(std::vector<Variant> variants, const std::vector<std::string>& names) {
  for (const PolicyRow& policy : policies()) {
    const bool wanted = names.empty() || std::find(names.begin(), names.end(), policy.name) != names.end();
    if (wanted && policy.claims.shrinks_in_place) variants.push_back({.policy = &policy, .name = ""});
  }
  return variants;
}

// The first way of each policy.
std::vector<Variant> first_of_each(const std::vector<Variant>& variants) {
  std::vector<Variant> firsts;
  for (const Variant& variant : variants) {
    if (firsts.empty() || firsts.back().policy != variant.policy) firsts.push_back(variant);
  }
  return firsts;
}

json burst_row(const BurstCase& burst_case, const BurstResult& result) {
  return {{"policy", burst_case.variant.policy->name},
          {"variant", burst_case.variant.name},
          {"stacks", burst_case.goroutines},
          {"stack_bytes", burst_case.bytes},
          {"grow_ns", result.grow_ns},
          {"pause_ns", result.pause_ns},
          {"after_ns", result.after_ns},
          {"spans_taken", result.spans_taken},
          {"spans_released", result.spans_released},
          {"held_bytes", result.held_bytes},
          {"span_bytes_grown", result.span_bytes_grown},
          {"span_bytes_idle", result.span_bytes_idle},
          {"live_bytes_idle", result.live_bytes_idle}};
}

json pinned_row(const PinnedCase& pinned_case, const PinnedResult& result) {
  return {{"policy", pinned_case.variant.policy->name},
          {"variant", pinned_case.variant.name},
          {"stacks", pinned_case.stacks},
          {"stack_bytes", pinned_case.bytes},
          {"every", pinned_case.every},
          {"pause_ns", result.pause_ns},
          {"after_ns", result.after_ns},
          {"span_bytes", result.span_bytes},
          {"live_bytes", result.live_bytes}};
}

json processors_row(const ProcessorsCase& one, const std::vector<double>& cycle_ns) {
  return {
      {"policy", one.variant.policy->name}, {"variant", one.variant.name}, {"procs", one.procs}, {"stacks", one.stacks},
      {"stack_bytes", one.bytes},           {"cycle_ns", cycle_ns}};
}

void add_bursts(std::vector<Task>& tasks, const Variant& variant, size_t many, int bursts) {
  for (const size_t bytes : {size_t{8192}, size_t{32768}}) {
    const BurstCase burst_case{.variant = variant, .goroutines = many, .bytes = bytes, .bursts = bursts};
    tasks.push_back({"burst, " + label(variant), static_cast<double>(many) * bursts * 12, [burst_case](json& results) {
                       results["burst"].push_back(burst_row(burst_case, run_burst(burst_case)));
                     }});
  }
}

void add_halved(std::vector<Task>& tasks, const Variant& variant, size_t many) {
  constexpr size_t kBytes = 65536;
  tasks.push_back({"halved, " + label(variant), static_cast<double>(many) * 4, [=](json& results) {
                     const HalvedResult result = run_halved(variant, many, kBytes);
                     results["halved"].push_back({{"policy", variant.policy->name},
                                                  {"variant", variant.name},
                                                  {"stacks", many},
                                                  {"stack_bytes", kBytes},
                                                  {"grown_bytes", result.grown_bytes},
                                                  {"collected_bytes", result.collected_bytes},
                                                  {"again_bytes", result.again_bytes},
                                                  {"live_bytes", result.live_bytes}});
                   }});
}

void add_pinned(std::vector<Task>& tasks, const Variant& variant, size_t many, int repetitions, CacheFlusher& flusher) {
  for (const size_t every : {size_t{2}, size_t{8}, size_t{64}}) {
    const PinnedCase pinned_case{
        .variant = variant, .stacks = many, .bytes = 4096, .every = every, .repetitions = repetitions};
    tasks.push_back({"pinned stacks, " + label(variant), static_cast<double>(many + 20000) * repetitions,
                     [pinned_case, &flusher](json& results) {
                       results["pinned"].push_back(pinned_row(pinned_case, run_pinned(pinned_case, flusher)));
                     }});
  }
}

void add_processors(std::vector<Task>& tasks, const Variant& variant, int repetitions) {
  for (const int procs : {1, 4, 16, kMaxProcs}) {
    const ProcessorsCase one{
        .variant = variant, .procs = procs, .stacks = kKi, .bytes = 2048, .repetitions = repetitions};
    tasks.push_back({"processors, " + label(variant), 3000.0 * repetitions, [one](json& results) {
                       results["processors"].push_back(processors_row(one, run_processors(one)));
                     }});
  }
}

void add_workload_tasks(std::vector<Task>& tasks, const std::vector<Variant>& firsts, Extent extent,
                        CacheFlusher& flusher) {
  const bool full = extent == Extent::kFull;
  const size_t many = full ? 64 * kKi : extent == Extent::kQuick ? 4 * kKi : 16 * kKi;
  for (const Variant& variant : firsts) {
    add_bursts(tasks, variant, many, full ? 15 : 7);
    add_halved(tasks, variant, many / 4);
    add_pinned(tasks, variant, many, full ? 21 : 7, flusher);
    add_processors(tasks, variant, full ? 101 : 31);
  }
}

void run_tasks(const std::vector<Task>& tasks, Allowance& allowance, Progress& progress, json& results) {
  for (const Task& task : tasks) {
    if (interrupted) return;
    if (allowance.over()) {
      allowance.skip(task.what);
      continue;
    }
    try {
      task.run(results);
    } catch (const std::bad_alloc&) {
      allowance.skip(task.what + " (no memory)");
    }
    allowance.done(task.work);
    progress.add(task.work, task.what);
  }
}

// ---- context and output ----

std::string first_line_after(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = key.empty() ? std::string::npos : line.find(':');
    return colon == std::string::npos ? line : line.substr(std::min(line.size(), colon + 2));
  }
  return "unknown";
}

std::string now_text() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// What a cache line costs that is read one after the other: the limit of whoever touches a line a stack.
double measure_line_ns() {
  constexpr size_t kLines = size_t{4} << 20;
  constexpr size_t kWordsALine = 8;
  const std::vector<uint64_t> buffer(kLines * kWordsALine, 1);
  const volatile uint64_t* const words = buffer.data();
  std::vector<double> each;
  for (int repetition = 0; repetition < 7; ++repetition) {
    const int64_t start = now_ns();
    uint64_t sum = 0;
    for (size_t line = 0; line < kLines; ++line) sum += words[line * kWordsALine];
    STACKDRAIN_CHECK(sum == kLines, "every line is read once");
    each.push_back(static_cast<double>(now_ns() - start) / static_cast<double>(kLines));
  }
  return median(each);
}

// Additions that wait for each other, which every processor does one a cycle, in a nanosecond. What a guest calls its
// processor says little: two runs are of like machines if this and line_ns are alike.
double measure_adds_per_ns() {
  constexpr size_t kAdds = size_t{16} << 20;
  constexpr size_t kAtOnce = 64;
  std::vector<double> each;
  for (int repetition = 0; repetition < 7; ++repetition) {
    uint64_t sum = 0;
    const int64_t start = now_ns();
    for (size_t add = 0; add < kAdds; add += kAtOnce) {
#pragma GCC unroll 64
      for (size_t i = 0; i < kAtOnce; ++i) {
        ++sum;
        asm volatile("" : "+r"(sum));  // so that they stay additions, one after the other
      }
    }
    STACKDRAIN_CHECK(sum == kAdds, "every addition is done once");
    each.push_back(static_cast<double>(kAdds) / static_cast<double>(now_ns() - start));
  }
  return median(each);
}

json context_of(Extent extent) {
  double load[3] = {};
  if (getloadavg(load, 3) != 3) std::fill(std::begin(load), std::end(load), -1.0);
  utsname system{};
  uname(&system);
  const ClockQuality clock = measure_clock();
  return {{"date", now_text()},
          {"commit", absl::GetFlag(FLAGS_commit)},
          {"cpu", first_line_after("/proc/cpuinfo", "model name")},
          {"cpus", std::thread::hardware_concurrency()},
          {"kernel", std::string(system.sysname) + " " + system.release},
          {"thp", first_line_after("/sys/kernel/mm/transparent_hugepage/enabled", "")},
          {"compiler", __VERSION__},
          {"build", STACKDRAIN_YIELDS != 0 ? "with yield points" : "release"},
          {"load", {load[0], load[1], load[2]}},
          {"clock_overhead_ns", clock.overhead_ns},
          {"clock_step_ns", clock.step_ns},
          {"line_ns", measure_line_ns()},
          {"adds_per_ns", measure_adds_per_ns()},
          {"quick", extent == Extent::kQuick},
          {"full", extent == Extent::kFull},
          {"command", absl::GetFlag(FLAGS_command)},
          {"notes", json::array()}};
}

struct CannotWrite : std::runtime_error {
  CannotWrite(const std::string& path, int error)
      : runtime_error(path + ": cannot be written: " + std::strerror(error) + "; choose another --out") {}
};

// Where the results go: a temporary of a name that nothing has, beside it, and it at once when all of them are there.
class ResultsFile {
 public:
  // Throws where it can't be written, before anything is measured.
  explicit ResultsFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".XXXXXX") {
    struct stat there{};
    if (stat(path_.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {  // a rename would replace it, or fail at the end
      throw CannotWrite(path_, S_ISDIR(there.st_mode) ? EISDIR : EINVAL);
    }
    const int file = mkstemp(temporary_.data());
    if (file < 0) throw CannotWrite(path_, errno);
    const mode_t mask = umask(0);
    umask(mask);
    fchmod(file, 0666 & ~mask);
    close(file);
  }
  ResultsFile(const ResultsFile&) = delete;
  ResultsFile& operator=(const ResultsFile&) = delete;
  ~ResultsFile() { unlink(temporary_.c_str()); }

  void write(const json& results) {
    std::ofstream file(temporary_);
    file << results.dump(1) << "\n";
    file.close();
    if (!file || std::rename(temporary_.c_str(), path_.c_str()) != 0) throw CannotWrite(path_, errno);
  }

 private:
  const std::string path_;
  std::string temporary_;
};

void print_table(const json& results) {
  std::printf("%-34s %10s %8s %9s %14s %12s %12s %14s\n", "policy", "stacks", "bytes", "order", "pause (med)",
              "ns/stack", "/ chase", "after (med)");
  for (const json& row : results["drain"]) {
    const double pause = median(row["pause_ns"]);
    const double stacks = row["stacks"];
    std::vector<double> ratios;
    ratios.reserve(row["pause_ns"].size());
    for (size_t i = 0; i < row["pause_ns"].size(); ++i) {
      ratios.push_back(row["pause_ns"][i].get<double>() / row["chase_ns"][i].get<double>());
    }
    const std::string variant = row["variant"];
    std::printf(
        "%-34s %10.0f %8d %9s %11.0f ns %12.3f %12.3f %11.0f ns\n",
        (row["policy"].get<std::string>() + (variant.empty() ? "" : ", " + variant)).c_str(), stacks,
        row["stack_bytes"].get<int>(),
        (row["order"].get<std::string>() + (row["share"] == "half" ? "/2" : "") + (row["cache"] == "warm" ? " w" : ""))
            .c_str(),
        pause, pause / stacks, median(ratios), median(row["after_ns"]));
  }
}

void check_policies(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (find_policy(name) != nullptr) continue;
    std::fprintf(stderr, "stackdrain_study: unknown policy '%s'; see: stackdrain list policies\n", name.c_str());
    std::exit(2);
  }
}

// Ticks that the hypervisor took from this machine's CPUs since it started, all together; -1 where nobody says.
double stolen_ticks() {
  std::ifstream file("/proc/stat");
  std::string name;
  std::array<double, 8> ticks{};
  file >> name;
  for (double& one : ticks) file >> one;
  return file ? ticks[7] : -1;
}

bool side_by_side(const PauseCase& a, const PauseCase& b) {
  return a.stacks == b.stacks && a.bytes == b.bytes && a.mutators == b.mutators && a.watched_spans == b.watched_spans;
}

// Of the case that begins here and those of its shape that follow, with the fewest cycles that are of use.
double least_work_of_shape(const std::vector<PauseCase>& cases, size_t first) {
  double work = 0;
  for (size_t i = first; i < cases.size() && side_by_side(cases[i], cases[first]); ++i)
    work += work_of(cases[i], static_cast<size_t>(std::min(cases[i].least_cycles, cases[i].cycles)));
  return work;
}

void measure_pauses(std::vector<PauseCase>& cases, Allowance& allowance, Progress& progress, json& results) {
  Histogram hiccup;
  double hiccup_seconds = 0;
  // A shape is measured of all policies or of none: what stands alone in a table compares with nothing.
  bool in_time = true;
  for (size_t i = 0; i < cases.size() && !interrupted; ++i) {
    PauseCase& pause_case = cases[i];
    if (i == 0 || !side_by_side(cases[i - 1], pause_case)) in_time = allowance.fits(least_work_of_shape(cases, i));
    if (!in_time) {
      allowance.done(work_of(pause_case));
      allowance.skip("pause with " + std::to_string(pause_case.stacks) + " stacks, " + label(pause_case.variant));
      continue;
    }
    const double stolen = stolen_ticks();
    pause_case.until_ns = allowance.until(work_of(pause_case));
    allowance.done(work_of(pause_case));
    PauseResult result;
    try {
      result = run_pause_study(pause_case);
    } catch (const std::bad_alloc&) {
      allowance.refuse(pause_case.variant, pause_case.stacks, "pauses");
      continue;
    }
    allowance.took(work_of(pause_case, result.splits.size()));
    if (result.splits.size() < static_cast<size_t>(pause_case.cycles)) allowance.cut();
    progress.add(work_of(pause_case),
                 "pause with " + std::to_string(pause_case.stacks) + " stacks " + label(pause_case.variant));
    if (pause_case.watched_spans != 0) {
      results["timeline"].push_back(timeline_row(pause_case, result.timeline));
      continue;
    }
    json row = pause_row(pause_case, result);
    row["stolen_ns"] = (stolen_ticks() - stolen) * 1e9 / static_cast<double>(sysconf(_SC_CLK_TCK));
    results["pause"].push_back(row);
    if (pause_case.mutators != 1) continue;
    hiccup.merge(result.hiccup);
    hiccup_seconds += result.hiccup_seconds;
  }
  results["hiccup"] = {{"latency", hiccup.to_json()}, {"seconds", hiccup_seconds}};
}

Extent extent_asked() {
  if (absl::GetFlag(FLAGS_quick)) return Extent::kQuick;
  return absl::GetFlag(FLAGS_full) ? Extent::kFull : Extent::kUsual;
}

// A part of the study: its share of the time, its work, what it does.
struct Part {
  std::string kind;
  double share;
  const double& work;  // asked when the part begins
  std::function<void(Allowance&)> run;
};

// Each part gets its share of the time that is left, so that what one does not use, or takes too much, is all the
// following parts' and not the last one's.
void run_parts(const std::vector<Part>& parts, int64_t end, json& notes) {
  double shares = 0;
  for (const Part& part : parts) shares += part.share;
  for (const Part& part : parts) {
    Allowance allowance(static_cast<double>(end - now_ns()) / 1e9 * part.share / shares, part.work);
    part.run(allowance);
    allowance.tell(part.kind, notes);
    shares -= part.share;
  }
  if (interrupted) notes.push_back("interrupted: only what was measured until then");
}

int run() {
  const Extent extent = extent_asked();
  const std::vector<std::string> names = absl::GetFlag(FLAGS_policies);
  check_policies(names);
  ResultsFile out(absl::GetFlag(FLAGS_out));
  const int64_t start = now_ns();
  const double seconds = absl::GetFlag(FLAGS_seconds) > 0 ? absl::GetFlag(FLAGS_seconds) : usual_seconds(extent);
  const std::vector<Variant> variants = all_variants(names);
  const std::vector<Group> groups = drain_groups(variants, extent);
  std::vector<PauseCase> pauses = timeline_cases(variants);
  const std::vector<Variant> all = with_in_place(variants, names);
  for (const PauseCase& pause_case : pause_cases(all, extent)) pauses.push_back(pause_case);
  CacheFlusher flusher;
  std::vector<Task> tasks;
  add_go_tasks(tasks, variants, extent, flusher);
  add_workload_tasks(tasks, first_of_each(all), extent, flusher);
  json results = {{"schema", "stackdrain-results"}, {"version", 1},
                  {"context", context_of(extent)},  {"drain", json::array()},
                  {"pause", json::array()},         {"timeline", json::array()},
                  {"go_program", json::array()},    {"burst", json::array()},
                  {"halved", json::array()},        {"pinned", json::array()},
                  {"processors", json::array()},    {"touched", measure_touched(variants)}};
  double drain_work = 0;
  for (const Group& group : groups) drain_work += work_of(group, group.repetitions);
  double pause_work = 0;
  for (const PauseCase& pause_case : pauses) pause_work += work_of(pause_case);
  // Small ones first: if time runs short it is the largest that are left out.
  std::sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.work < b.work; });
  double task_work = 0;
  for (const Task& task : tasks) task_work += task.work;
  {
    Progress progress(drain_work + pause_work + task_work, seconds);
    results["noise"] = measure_noise(flusher, variants, extent);
    std::vector<const Group*> put_off;
    double put_off_work = 0;
    double pace = 0;
    run_parts(
        {{"workloads", 0.15, task_work, [&](Allowance& allowance) { run_tasks(tasks, allowance, progress, results); }},
         {"drains", 0.45, drain_work,
          [&](Allowance& allowance) {
            for (const Group& group : groups) {
              if (measure_group(group, flusher, allowance, progress, results["drain"])) continue;
              put_off.push_back(&group);
              put_off_work += work_of(group, group.repetitions);
            }
            pace = allowance.pace();
          }},
         {"pauses", 0.39, pause_work,
          [&](Allowance& allowance) { measure_pauses(pauses, allowance, progress, results); }},
         // What there was no time for gets what the others have left of theirs.
         {"drains put off", 0.01, put_off_work,
          [&](Allowance& allowance) {
            allowance.expect(pace);
            for (const Group* group : put_off) {
              if (!measure_group(*group, flusher, allowance, progress, results["drain"])) {
                allowance.skip("drains of " + name_of(*group));
              }
            }
          }}},
        start + static_cast<int64_t>(seconds * 1e9), results["context"]["notes"]);
  }
  results["context"]["seconds"] = static_cast<double>(now_ns() - start) / 1e9;
  print_table(results);
  out.write(results);
  return 0;
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("measures drains and pauses; writes results.json");
  absl::ParseCommandLine(argc, argv);
  std::signal(SIGINT, +[](int) { stackdrain::interrupted = true; });
  try {
    return stackdrain::run();
  } catch (const stackdrain::CannotWrite& error) {
    std::fprintf(stderr, "stackdrain_study: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stackdrain_study: %s\n", error.what());
    return 1;
  }
}
