#include "fuzz/explore_tool.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "fuzz/explore.h"
#include "fuzz/program.h"
#include "fuzz/tool.h"

namespace stackdrain {
namespace {

// What runs, for signals and for the pool's own assertion.
struct Running {
  const Explorer* explorer = nullptr;
  const ExploreWorld* world = nullptr;
  const PolicyRow* policy = nullptr;
  const ExploreOptions* options = nullptr;
  size_t* shortest = nullptr;  // of all counterexamples so far; shared by all workers
};
Running running;
std::atomic<bool> stop_asked{false};

std::string text_of(const std::vector<Operation>& program) {
  std::string text;
  char line[kMaxOperationText];
  for (const Operation operation : program) {
    text.append(line, format_operation(operation, line, sizeof line));
    text += '\n';
  }
  return text;
}

std::string indented(const std::string& text) {
  std::string out = "    ";
  for (size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) out += "    ";
  }
  return out;
}

// A program, its lines as a JSON array; texts of operations and messages hold nothing that needs escaping.
std::string json_lines(const std::string& text) {
  std::string out = "[\"";
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] == '\n') {
      out += "\",\"";
    } else {
      out += text[i];
    }
  }
  return out + "\"]";
}

// What a counterexample is for a reader: the program, what is wrong with it, and how that shows.
struct Finding {
  std::string program;
  size_t length = 0;  // without the operation that makes the world
  std::string invariant;
  std::string message;
  enum class Again : uint8_t { kReported, kPasses, kNotTried } again = Again::kNotTried;  // when run as `run` does
};

std::string command_of(const Running& what, const std::string& file) {
  std::string command = "./stackdrain run " + file + " --policy " + std::string(what.policy->name);
  if (!what.options->defect.empty()) command += " --defect " + what.options->defect;
  return command;
}

void print_finding(const Running& what, const Finding& finding) {
  std::printf("  COUNTEREXAMPLE of %zu operations, a shortest one in this world: %s: %s\n%s", finding.length,
              finding.invariant.c_str(), finding.message.c_str(), indented(finding.program).c_str());
  const std::string file = what.options->out == "-" ? "FILE.ops" : what.options->out;
  constexpr const char* kAgain[] = {"reproduce", "NOT reproduced (only a walk after every operation sees it) by",
                                    "reproduce (it ends the process)"};
  std::printf("  %s: %s\n", kAgain[static_cast<size_t>(finding.again)], command_of(what, file).c_str());
}

void print_text(const ExploreResult& result) {
  const auto length = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf("  %6s %12s %14s %14s %9s\n", "length", "new states", "transitions", "refused", "seconds");
  for (size_t n = 0; n < result.layers.size(); ++n) {
    const ExploreLayer& layer = result.layers[n];
    std::printf("  %6zu %12llu %14llu %14llu %9.2f%s\n", n, length(layer.states), length(layer.transitions),
                length(layer.refused), layer.seconds, n > result.depth ? "  not complete" : "");
  }
  const ExploreLayer& total = result.total;
  std::printf("  %llu states, %llu transitions in %.2f s (%.0f states/s, %.0f transitions/s), %.0f MB\n",
              length(total.states), length(total.transitions), total.seconds,
              static_cast<double>(total.states) / total.seconds, static_cast<double>(total.transitions) / total.seconds,
              static_cast<double>(result.bytes) / 1e6);
  if (result.end == ExploreEnd::kCounterexample) return;
  if (result.end == ExploreEnd::kClosed) {
    std::printf("  no program of any length violates anything\n");
    return;
  }
  const char* why = result.end == ExploreEnd::kTime      ? "; the time bound ended it"
                    : result.end == ExploreEnd::kMemory  ? "; the memory bound ended it"
                    : result.end == ExploreEnd::kStopped ? "; it was stopped"
                                                         : "";
  std::printf("  no program of up to %zu operations violates anything%s\n", result.depth, why);
}

void print_json(const Running& what, const ExploreResult& result, const Finding* finding) {
  const auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  const ExploreLayer& total = result.total;
  std::printf("{\"policy\":\"%s\",\"defect\":\"%s\",\"world\":\"%s\",\"letters\":%zu,\"end\":\"%s\",\"depth\":%zu",
              what.policy->name.data(), what.options->defect.c_str(), what.world->name.data(),
              letters_of(*what.world).size(), kExploreEndNames[static_cast<size_t>(result.end)].data(), result.depth);
  std::printf(",\"states\":%llu,\"transitions\":%llu,\"refused\":%llu,\"seconds\":%.3f,\"bytes\":%zu,\"lengths\":[",
              number(total.states), number(total.transitions), number(total.refused), total.seconds, result.bytes);
  for (size_t n = 0; n < result.layers.size(); ++n) {
    const ExploreLayer& layer = result.layers[n];
    std::printf("%s{\"states\":%llu,\"transitions\":%llu,\"refused\":%llu,\"seconds\":%.3f}", n == 0 ? "" : ",",
                number(layer.states), number(layer.transitions), number(layer.refused), layer.seconds);
  }
  std::printf("]");
  if (finding != nullptr) {
    constexpr const char* kAgain[] = {"true", "false", "null"};
    std::printf(
        ",\"counterexample\":{\"length\":%zu,\"invariant\":\"%s\",\"message\":\"%s\",\"reproduced\":%s,\"program\":%s}",
        finding->length, finding->invariant.c_str(), finding->message.c_str(),
        kAgain[static_cast<size_t>(finding->again)], json_lines(finding->program).c_str());
  }
  std::printf("}\n");
}

// The exit code. What was found is printed first: a search is long, and a file system may have become full in it.
int tell(const Running& what, const ExploreResult& result, const Finding* finding) {
  if (what.options->json) {
    print_json(what, result, finding);
  } else {
    print_text(result);
    if (finding != nullptr) print_finding(what, *finding);
  }
  const int code = end_output(finding == nullptr ? 0 : 1);
  if (finding == nullptr || finding->length >= *what.shortest) return code;
  *what.shortest = finding->length;
  if (what.options->out == "-") return code;
  try {
    write_file(what.options->out, finding->program);
    return code;
  } catch (const InputError& error) {
    if (code != 2) std::fprintf(stderr, "stackdrain: %s\n", error.what());
    return 2;
  }
}

// The pool's own assertion, or a signal, ends the worker in the middle of a program: that is a counterexample too, and
// a shortest one, because lengths are gone through in order. As in any crash handler, what is printed is not
// guaranteed.
[[noreturn]] void stopped_by(const char* what) {
  const std::vector<Operation> program = running.explorer->current();
  const Finding finding{text_of(program), program.size() - 1, "none", std::string("stopped by ") + what};
  ExploreResult result = running.explorer->so_far();
  result.end = ExploreEnd::kCounterexample;
  std::_Exit(tell(running, result, &finding));
}

[[maybe_unused]] void on_fatal_signal(int signal) {
  stopped_by(signal == SIGSEGV ? "a wild access (SIGSEGV)" : "a wild access (SIGBUS)");
}

void on_interrupt(int) {
  stop_asked.store(true, std::memory_order_relaxed);
}

// An operation takes microseconds, so one that is under way at two alarms never ends (F4).
constexpr unsigned kAlarmSeconds = 10;
void on_alarm(int) {
  static uint64_t before = UINT64_MAX;
  const uint64_t done = running.explorer->steps();
  if (done == before) stopped_by("an operation that does not end");
  before = done;
  alarm(kAlarmSeconds);
}

void watch_signals() {
#if !STACKDRAIN_ASAN
  std::signal(SIGSEGV, on_fatal_signal);
  std::signal(SIGBUS, on_fatal_signal);
#endif
  std::signal(SIGALRM, on_alarm);
  alarm(kAlarmSeconds);
  on_check_failure = +[] { stopped_by("the pool's own assertion"); };
}

Finding finding_of(Machine& machine, const PolicyRow& policy, const Counterexample& counterexample) {
  std::vector<uint8_t> bytes;
  const std::string text = text_of(counterexample.program);
  parse_text(text, bytes);
  const bool reproduced = machine.run({bytes.data(), bytes.size()}, policy).violated;
  return {text, counterexample.program.size() - 1, std::string(id_of(counterexample.violation.invariant)),
          counterexample.violation.message.data(), reproduced ? Finding::Again::kReported : Finding::Again::kPasses};
}

std::vector<const ExploreWorld*> choose_worlds(const std::string& name) {
  std::vector<const ExploreWorld*> worlds;
  std::string known;
  for (const ExploreWorld& world : explore_worlds()) {
    if (name.empty() || name == world.name) worlds.push_back(&world);
    known += " " + std::string(world.name);
  }
  if (worlds.empty()) throw InputError("unknown world '" + name + "'; there are:" + known);
  return worlds;
}

void print_world(const ExploreWorld& world) {
  std::string letters = text_of(letters_of(world));
  for (size_t at = letters.find('\n'); at != std::string::npos; at = letters.find('\n', at)) {
    letters.replace(at, 1, at + 1 < letters.size() ? "; " : "");
  }
  std::printf(
      "world %s: %s\n    %s\n  %zu letters, each alone, and each inside each other at each yield point:\n    %s\n",
      world.name.data(), world.summary.data(), world.world.data(), letters_of(world).size(), letters.c_str());
}

// For who sits before a long search: each length takes about as many times the one before it as that one did.
void show_progress(size_t length, const ExploreLayer& layer) {
  static double before = 0;
  constexpr double kWorthTelling = 2;
  if (layer.seconds >= kWorthTelling && isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "  length %zu took %.0f s; the next takes about %.0f s\n", length, layer.seconds,
                 before > 0 ? layer.seconds * layer.seconds / before : layer.seconds);
  }
  before = layer.seconds;
}

// One search; what the worker process does. The exit code.
int explore_one(Machine& machine, const Running& what) {
  Explorer explorer(machine);
  running = what;
  running.explorer = &explorer;
  watch_signals();
  const ExploreOptions& options = *what.options;
  const ExploreLimits limits = {options.depth, options.seconds, options.megabytes * 1000000, &stop_asked};
  const ExploreResult result = explorer.run(*what.world, *what.policy, limits, show_progress);
  alarm(0);
  if (!result.found()) return tell(running, result, nullptr);
  const Finding finding = finding_of(machine, *what.policy, result.counterexample);
  return tell(running, result, &finding);
}

// A process of its own for each search: a planted defect may end it in any way, and its memory goes with it.
int in_worker(Machine& machine, const Running& what) {
  if (end_output(0) != 0) return 2;  // what is left in the buffer, the worker would print, too
  const pid_t worker = fork();
  if (worker < 0) throw InputError(std::string("cannot fork: ") + std::strerror(errno));
  if (worker == 0) std::_Exit(explore_one(machine, what));
  int status = 0;
  while (waitpid(worker, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  std::fprintf(stderr, "stackdrain: the worker was ended by signal %d\n", WTERMSIG(status));
  return 1;
}

}  // namespace

int explore_verb(Machine& machine, const ExploreOptions& options) {
  std::vector<const PolicyRow*> rows = choose_policies(options.policy);
  std::erase_if(rows, [](const PolicyRow* row) { return !row->claims.tells_places; });
  if (rows.empty()) {
    throw InputError(options.policy + ": shows no spans or slots, so its states can't be told apart; fuzz it instead");
  }
  const std::vector<const ExploreWorld*> worlds = choose_worlds(options.world);
  check_writable(options.out);
  void* shared = mmap(nullptr, sizeof(size_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw InputError(std::string("cannot map memory: ") + std::strerror(errno));
  Running what{.options = &options, .shortest = static_cast<size_t*>(shared)};
  *what.shortest = SIZE_MAX;
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  int code = 0;
  for (const ExploreWorld* world : worlds) {
    if (!options.json) print_world(*world);
    for (const PolicyRow* policy : rows) {
      if (stop_asked.load()) return code;
      what.world = world;
      what.policy = policy;
      if (!options.json) {
        std::printf("policy %s%s%s\n", policy->name.data(), options.defect.empty() ? "" : ", defect ",
                    options.defect.c_str());
      }
      const int ended = in_worker(machine, what);
      if (ended == 2) return 2;  // the searches that are left would have nowhere to tell it, either
      if (ended != 0) code = 1;
    }
  }
  return code;
}

}  // namespace stackdrain
