// Looks for anything wrong with a pool that was changed: replays programs under every sound policy, then fuzzes them.
//
//   mutant_runner SECONDS PROGRAM.ops… INPUT.bin…
//
// Each program is also left in its middle, as a violation leaves it, before it is run: nothing of that may be there
// when the next begins. The inputs are page_heap_fuzzer's, which is linked in and aborts at what it finds.
//
// Exit code 0: nothing was seen; 1: an invariant, told on standard output ("corpus A4" or "fuzz A4"); anything else is
// the pool's own assertion, a sanitizer or a signal. All programs given must pass on a pool that is as it should be.
// The fuzzing is the mutator over whatever reached a kind of state that nothing had reached (Machine::count_states).
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/differential.h"
#include "fuzz/machine.h"
#include "fuzz/mutator.h"
#include "fuzz/stepper.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);  // of page_heap_fuzzer

namespace stackdrain {
namespace {

using Bytes = std::vector<uint8_t>;
constexpr size_t kMaxBytes = 256;
// Processor time that one program gets; the longest of the corpus takes a thousandth of it.
constexpr time_t kSecondsForOne = 2;
constexpr int kWaitsForEver = 4;  // exit code

// Processor time, not that of the clock on the wall: how busy the machine is with other things says nothing of a
// mutant.
double seconds_used() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

// From now on so long, or SIGVTALRM.
void wind_up() {
  const itimerval limit{.it_interval = {}, .it_value = {kSecondsForOne, 0}};
  setitimer(ITIMER_VIRTUAL, &limit, nullptr);
}

// A mutant that waits for a lock which nobody gives back uses no processor time but for these looks, and would wait for
// ever: looked at every kSecondsForOne of the clock on the wall, and ended like one that loops.
void end_if_it_waits(int) {
  static std::clock_t before = -CLOCKS_PER_SEC;
  const std::clock_t now = std::clock();
  if (now - before < CLOCKS_PER_SEC / 1000) std::_Exit(kWaitsForEver);
  before = now;
}

void watch_for_waits() {
  std::signal(SIGALRM, end_if_it_waits);
  const itimerval every{.it_interval = {kSecondsForOne, 0}, .it_value = {kSecondsForOne, 0}};
  setitimer(ITIMER_REAL, &every, nullptr);
}

class Runner {
 public:
  Runner() { machine_.count_states(counters_.data()); }

  void load(const std::string& path) {
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (path.ends_with(".bin")) {
      inputs_.emplace_back(text.begin(), text.end());
      return;
    }
    Bytes bytes;
    if (!file.good() || parse_text(text, bytes).has_value()) {
      std::fprintf(stderr, "%s: is no program; see ./stackdrain ops check\n", path.c_str());
      std::exit(2);
    }
    programs_.push_back(bytes);
  }

  void replay() {
    machine_.walk_always(true);
    for (const Bytes& input : inputs_) run_page_heap(input);
    for (const Bytes& program : programs_) {
      for (const PolicyRow& policy : policies()) {
        if (!policy.claims.sound) continue;
        leave_in_the_middle(program, policy);
        check("corpus", program, policy);
      }
      check_differential("corpus", program);
    }
  }

  void fuzz(double seconds) {
    machine_.walk_always(false);
    const double until = seconds_used() + seconds;
    for (uint32_t turn = 1; seconds_used() < until; ++turn) {
      Bytes program = programs_[size_t{turn} * 2654435761u % programs_.size()];
      const size_t size = std::min(program.size(), kMaxBytes);
      program.resize(kMaxBytes);
      program.resize(mutate_program(program.data(), size, kMaxBytes, turn, nullptr));
      if (turn % 8 == 0) run_page_heap(mutated_input(turn));
      const PolicyRow& policy = policies()[turn % policies().size()];
      if (turn % 32 == 1) leave_in_the_middle(program, policy);
      if (policy.claims.sound) {
        counters_.fill(0);
        check("fuzz", program, policy);
        if (is_new()) programs_.push_back(program);
      } else {
        check_differential("fuzz", program);
      }
    }
  }

 private:
  static void run_page_heap(const Bytes& input) {
    wind_up();
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  // One of the inputs, with some of its bytes changed and some of its operations put in again.
  Bytes mutated_input(uint32_t turn) {
    Bytes input = inputs_[turn / 8 % inputs_.size()];
    uint32_t random = turn;
    const auto next = [&random] { return random = random * 1664525u + 1013904223u, random >> 8; };
    for (uint32_t i = next() % 16; i > 0 && !input.empty(); --i)
      input[next() % input.size()] = static_cast<uint8_t>(next());
    for (uint32_t i = next() % 64; i > 0; --i) input.push_back(static_cast<uint8_t>(next()));
    return input;
  }
  void leave_in_the_middle(const Bytes& program, const PolicyRow& policy) {
    wind_up();
    const ProgramView view(program.data(), program.size());
    if (view.size() == 0) return;
    const size_t first = view[0].op() == Op::kWorld ? 1 : 0;
    std::vector<Operation> half;
    for (size_t i = first; i < std::min(view.size() / 2 + 1, Stepper::kMaxLength - 1); ++i) half.push_back(view[i]);
    Stepper stepper(machine_, kGoroutines);
    stepper.begin(policy, first == 1 ? view[0] : Operation{static_cast<uint8_t>(Op::kWorld), 0});
    if (stepper.failed()) found("fresh", stepper.violation().invariant);
    stepper.replay(half);
  }
  [[noreturn]] static void found(const char* where, Invariant invariant) {
    std::printf("%s %s\n", where, id_of(invariant).data());
    std::fflush(stdout);
    std::_Exit(1);
  }
  void check(const char* where, const Bytes& program, const PolicyRow& policy) {
    wind_up();
    const Verdict& verdict = machine_.run({program.data(), program.size()}, policy);
    if (verdict.violated) found(where, verdict.violation.invariant);
  }
  void check_differential(const char* where, const Bytes& program) {
    wind_up();
    if (differential_.run({program.data(), program.size()}).found()) found(where, Invariant::kG2);
  }
  bool is_new() {
    bool fresh = false;
    for (size_t i = 0; i < counters_.size(); ++i) {
      if (counters_[i] == 0 || seen_[i] != 0) continue;
      seen_[i] = 1;
      fresh = true;
    }
    return fresh;
  }

  Machine machine_;
  Differential differential_{machine_};
  std::vector<Bytes> programs_;
  std::vector<Bytes> inputs_;
  std::array<uint8_t, kStateCounters> counters_{};
  std::array<uint8_t, kStateCounters> seen_{};
};

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "mutant_runner SECONDS PROGRAM.ops... INPUT.bin...\n");
    return 2;
  }
  stackdrain::on_check_failure = +[] { std::_Exit(3); };
  stackdrain::watch_for_waits();
  stackdrain::wind_up();  // the first pool is made, and a mutant may not come out of that
  static stackdrain::Runner runner;
  for (int i = 2; i < argc; ++i) runner.load(argv[i]);
  runner.replay();
  runner.fuzz(std::atof(argv[1]));
  return 0;
}
