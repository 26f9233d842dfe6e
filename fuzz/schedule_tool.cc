#include "fuzz/schedule_tool.h"

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

#include "fuzz/schedule.h"
#include "fuzz/schedule_picture.h"
#include "fuzz/schedule_text.h"
#include "fuzz/tool.h"

namespace stackdrain {
namespace {

Scheduler& scheduler() {
  static Scheduler& instance = *new Scheduler;  // lives as long as the process
  return instance;
}

// What ends the process in the middle of a run is a finding, not a crash of the tool.
[[noreturn]] void stopped_by(const char* what) {
  std::fflush(stdout);
  print_schedule_stop(stdout, scheduler(), what);
  std::_Exit(end_output(1));
}

[[noreturn]] void stopped_by_assertion() {
  stopped_by("the pool's own assertion");
}

// A broken pool may follow a wild pointer, too. The process ends here, so what printing does is allowed to fail.
[[noreturn]] void stopped_by_signal(int signal) {
  std::signal(signal, SIG_DFL);
  stopped_by("a crash of the pool");
}

std::vector<uint8_t> read_input(const std::string& path) {
  const std::string content = read_file(path);
  if (!path.ends_with(".ops")) return {content.begin(), content.end()};
  std::vector<uint8_t> bytes;
  if (const std::optional<ParseError> error = parse_schedule(content, bytes)) {
    throw InputError(path + ":" + std::to_string(error->line) + ": " + error->message);
  }
  return bytes;
}

const ScheduleVerdict& run(const std::vector<uint8_t>& input, const PolicyRow& policy) {
  return scheduler().run({input.data(), input.size()}, policy);
}

const PolicyRow& chosen(const std::vector<uint8_t>& input, const std::string& name) {
  const std::vector<const PolicyRow*> rows = choose_policies(name.empty() ? "all" : name);
  for (const PolicyRow* row : rows) {
    if (run(input, *row).violated) return *row;
  }
  return *rows.front();
}

}  // namespace

int schedule_verb(const std::string& path, const ScheduleOptions& options) {
  on_check_failure = +[] { stopped_by_assertion(); };
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, stopped_by_signal);
  std::vector<uint8_t> input = read_input(path);
  const PolicyRow& policy = chosen(input, options.policy);
  const bool minimizes = options.minimize || !options.minimize_to.empty();
  if (minimizes) {
    if (!run(input, policy).violated) throw InputError(path + ": passes; --minimize wants an input that fails");
    input = minimize_schedule(scheduler(), input, policy);
  }
  if (!options.minimize_to.empty()) {
    write_file(options.minimize_to, schedule_text({input.data(), input.size()}));
  }
  const bool violated = run(input, policy).violated;
  if (violated) {
    print_schedule_finding(stdout, scheduler(), policy);
  } else {
    const ScheduleVerdict& verdict = scheduler().verdict();
    std::printf("policy %s passes: %zu steps, %zu interruptions, %llu cycles, %llu stacks shrunk\n", policy.name.data(),
                verdict.steps, verdict.switches, static_cast<unsigned long long>(verdict.cycles),
                static_cast<unsigned long long>(verdict.shrinks));
    print_faults(stdout, verdict);
    print_steps(stdout, scheduler());
  }
  if (!options.html.empty()) {
    const std::string command = "./stackdrain schedule " + path + " --policy " + std::string(policy.name) +
                                (options.defect.empty() ? "" : " --defect " + options.defect);
    write_file(options.html, schedule_page(scheduler(), policy, command));
  }
  return violated ? 1 : 0;
}

}  // namespace stackdrain
