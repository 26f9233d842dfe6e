#include "fuzz/timeline.h"

#include <algorithm>
#include <utility>

#include "fuzz/reproducer_support.h"
#include "fuzz/signature.h"

namespace stackdrain {
namespace {

class Photographer final : public WalkVisitor {
 public:
  static Snapshot take(const Machine& machine) {
    Photographer photographer(machine.pool()->arena_base());
    machine.pool()->walk(photographer);
    Snapshot& shot = photographer.shot_;
    std::sort(shot.slots.begin(), shot.slots.end(),
              [](const SlotPicture& a, const SlotPicture& b) { return a.lo < b.lo; });
    photographer.people(machine);
    return std::move(shot);
  }
  // What needs no lock.
  static void update(const Machine& machine, Snapshot& shot) {
    Photographer photographer(machine.pool()->arena_base());
    photographer.shot_ = std::move(shot);
    photographer.people(machine);
    shot = std::move(photographer.shot_);
  }

 private:
  explicit Photographer(uintptr_t base) : base_(base) {}

  void span(const SpanView& view) override {
    shot_.spans.push_back({view.base - base_, uint64_t{view.pages} << kPageShift, view.state, view.generation,
                           view.slot_bytes, view.out, view.capacity});
  }
  void slot(const SlotView& view) override {
    shot_.slots.push_back({view.lo - base_, view.bytes, view.place, view.proc});
  }
  void fault(WalkFault, uintptr_t) override {}

  uint64_t offset(uintptr_t address) const { return address == 0 ? kNowhere : address - base_; }

  void people(const Machine& machine) {
    const std::span<const Goroutine> goroutines = machine.goroutines();
    for (size_t g = 0; g < kGoroutines; ++g) {
      OwnerView& owner = shot_.owners[g];
      const Stack stack = goroutines[g].stack();
      owner.status = goroutines[g].status();
      owner.lo = stack ? stack.lo - base_ : 0;
      owner.hi = stack ? stack.hi - base_ : 0;
      for (size_t kind = 0; kind < kRootKinds; ++kind) {
        owner.roots[kind] = offset(goroutines[g].root(static_cast<RootKind>(kind)));
      }
    }
    const Collector& collector = machine.collector();
    shot_.phase = collector.phase();
    for (int marker = 0; marker < kMachineMarkers; ++marker) {
      const bool there = collector.phase() == Phase::kMark && marker < collector.kind().markers;
      const Held held = there ? collector.held(marker) : Held{};
      shot_.held[static_cast<size_t>(marker)] = {offset(held.pointer), held.goroutine, held.kind,
                                                 dangles(*machine.pool(), held)};
    }
  }

  uintptr_t base_;
  Snapshot shot_;
};

class Recorder final : public MachineObserver {
 public:
  Recorder(Machine& machine, Recording& recording, size_t seen_at)
      : machine_(machine), recording_(recording), seen_at_(seen_at) {}

  void operation(size_t index, Operation, bool nested, const Outcome& outcome) override {
    if (seen_) return;
    locked_ = locked_ && nested;
    Step step{.index = index, .nested = nested, .at = point_};
    step.no_op = outcome.no_op != nullptr;
    step.story = step.no_op ? outcome.no_op : outcome.story.data();
    add(std::move(step));
    if (index != seen_at_) return;
    seen_ = true;
    recording_.seen_inside = nested && !locked_;
    if (recording_.seen_inside) look();
  }
  void reached(Yield point, bool nested) override {
    if (nested || seen_) return;
    point_ = point;
    locked_ = kYieldPoints[static_cast<size_t>(point)].locked;
    if (!locked_) add({.index = machine_.current_index(), .point = true, .at = point});
  }
  bool wants_calls() const override { return true; }
  void calls(const char* line, bool nested) override {
    recording_.params = machine_.pool()->params();
    if (!seen_) recording_.calls.push_back({line, machine_.current_index(), nested, point_});
  }

  // The run is over.
  void finish() {
    if (!seen_) add({.index = recording_.view().size()});
    if (!recording_.seen_inside) look();
  }

 private:
  void add(Step step) {
    step.after = locked_ ? last_ : Photographer::take(machine_);
    if (locked_) Photographer::update(machine_, step.after);
    forget_copying(step.after);
    const bool same = step.after == last_;
    if (step.point && same) return;
    last_ = step.after;
    std::deque<Step>& steps = recording_.steps;
    if (same && !step.nested && !steps.empty() && steps.back().point && steps.back().index == step.index) {
      step.at_point = true;
      step.at = steps.back().at;
      steps.pop_back();
    }
    steps.push_back(std::move(step));
    if (steps.size() <= kMostSteps) return;
    steps.pop_front();
    ++recording_.steps_left_out;
  }
  // That a goroutine is being moved is said by the operation; what it does otherwise stays of interest.
  void forget_copying(Snapshot& shot) const {
    for (size_t g = 0; g < shot.owners.size(); ++g) {
      if (shot.owners[g].status == GoStatus::kCopying) shot.owners[g].status = last_.owners[g].status;
    }
  }
  void look() {
    recording_.dangling = any_dangles(*machine_.pool(), machine_.collector());
    recording_.state_there = StateText(*machine_.pool(), machine_.goroutines(), machine_.collector()).text();
  }

  Machine& machine_;
  Recording& recording_;
  size_t seen_at_;
  bool seen_ = false;
  bool locked_ = false;  // at a point where a lock is held, which a walk would wait for
  Yield point_ = Yield::kCopyAlloc;
  Snapshot last_;
};

}  // namespace

void record(Machine& machine, ProgramView program, const PolicyRow& policy, Recording& recording) {
  recording = {};
  recording.policy = &policy;
  recording.program.assign(program.data(), program.data() + program.bytes());
  const auto run = [&](size_t seen_at) {
    recording.steps.clear();
    recording.calls.clear();
    recording.steps_left_out = 0;
    Recorder recorder(machine, recording, seen_at);
    recording.verdict = machine.run(recording.view(), policy, &recorder);
    recorder.finish();
  };
  // Where it is seen is known afterwards; what ends the process does so in the first run.
  run(kNever);
  if (!recording.verdict.violated) return;
  recording.signature = signature_of(recording.verdict).data();
  recording.relocked =
      std::string_view(recording.verdict.violation.message.data()).ends_with("the thread that holds it");
  run(recording.verdict.index);
}

void stop_recording(const Machine& machine, const std::string& stopped_by, Recording& recording) {
  recording.stopped_by = stopped_by;
  recording.verdict = machine.verdict();
  recording.verdict.index = machine.current_index();
  recording.verdict.operations = recording.view().size();
  if (const Violation* seen = machine.seen()) {
    recording.verdict.violated = true;
    recording.verdict.violation = *seen;
  }
  recording.signature = signature_of_stop(machine.verdict().site, machine.seen()).data();
}

std::string text_of(ProgramView program, size_t index) {
  if (index >= program.size()) return "the end";
  char text[kMaxOperationText];
  format_operation(program[index], text, sizeof text);
  return text;
}

}  // namespace stackdrain
