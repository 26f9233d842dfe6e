#include "fuzz/schedule_tool.h"

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/faults.h"
#include "fuzz/schedule.h"
#include "fuzz/schedule_picture.h"
#include "fuzz/schedule_text.h"
#include "fuzz/timeline.h"
#include "fuzz/tool.h"

namespace stackdrain {
namespace {

Scheduler& scheduler() {
  static Scheduler& instance = *new Scheduler;  // lives as long as the process
  return instance;
}

// What was asked for.
struct Asked {
  std::string path;
  ScheduleOptions options;
  size_t minimized_from = 0;  // operations

  bool minimizes() const { return options.minimize || !options.minimize_to.empty(); }
};

Asked& asked() {
  static Asked& instance = *new Asked;  // lives as long as the process
  return instance;
}

// ---- as JSON ----

class JsonObject {
 public:
  void add(std::string_view name, std::string_view value) {
    text_ += text_.empty() ? "{" : ", ";
    text_ += json_string(name) + ": ";
    text_ += value;
  }
  void add(std::string_view name, size_t value) { add(name, std::to_string(value)); }
  void add_string(std::string_view name, std::string_view value) { add(name, json_string(value)); }
  std::string text() const { return text_ + "}"; }

 private:
  std::string text_;
};

std::string json_array(const std::vector<std::string>& values) {
  std::string json = "[";
  for (const std::string& value : values) json += (json.size() == 1 ? "" : ", ") + value;
  return json + "]";
}

std::string operation_text(size_t index) {
  const ProgramView& program = scheduler().input().program;
  return index < program.size() ? text_of(program, index) : "(end of the program)";
}

std::string faults_json(uint32_t faults) {
  std::vector<std::string> names;
  for (size_t i = 0; i < kFaults.size(); ++i) {
    if ((faults >> i & 1) != 0) names.push_back(json_string(kFaults[i].name));
  }
  return json_array(names);
}

std::string input_json() {
  std::vector<std::string> lines;
  std::istringstream text(schedule_text(scheduler().input()));
  for (std::string line; std::getline(text, line);) lines.push_back(json_string(line));
  return json_array(lines);
}

std::string steps_json() {
  const std::span<const ScheduleStep> steps = scheduler().steps();
  std::vector<std::string> rows;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!worth_telling(steps, i)) continue;
    JsonObject row;
    row.add("step", i);
    row.add_string("who", kActorNames[steps[i].actor]);
    row.add_string("operation", operation_text(steps[i].operation));
    row.add_string("point", name_of(steps[i].point));
    row.add("interrupted", steps[i].switched ? "true" : "false");
    rows.push_back(row.text());
  }
  return json_array(rows);
}

// What went wrong: `stopped_by` if that ended the process, else "".
void add_finding(JsonObject& json, std::string_view stopped_by) {
  const ScheduleVerdict& verdict = scheduler().verdict();
  const Violation* seen = scheduler().seen();
  const size_t index = stopped_by.empty() ? verdict.operation : scheduler().current_operation();
  const size_t actor = stopped_by.empty() ? verdict.actor : scheduler().current_actor();
  json.add("invariant", seen == nullptr ? "null" : json_string(id_of(seen->invariant)));
  json.add_string("message", seen == nullptr ? "the process was stopped by " + std::string(stopped_by)
                                             : std::string(seen->message.data()));
  json.add_string("who", kActorNames[actor]);
  json.add("index", index);
  json.add_string("operation", operation_text(index));
  if (!stopped_by.empty()) json.add_string("stopped_by", std::string(stopped_by));
}

void print_json(const PolicyRow& policy, std::string_view stopped_by) {
  const ScheduleVerdict& verdict = scheduler().verdict();
  const bool violated = verdict.violated || !stopped_by.empty();
  JsonObject json;
  json.add_string("input", asked().path);
  json.add_string("policy", policy.name);
  if (!asked().options.defect.empty()) json.add_string("defect", asked().options.defect);
  json.add("violated", violated ? "true" : "false");
  if (violated) add_finding(json, stopped_by);
  json.add("operations", scheduler().input().program.size());
  json.add("no_ops", verdict.no_ops);
  json.add("steps", verdict.steps);
  json.add("interruptions", verdict.switches);
  json.add("cycles", verdict.cycles);
  json.add("shrinks", verdict.shrinks);
  json.add("faults", faults_json(verdict.faults));
  if (verdict.longest_wait != 0) {
    json.add("longest_wait", verdict.longest_wait);
    json.add("wait_bound", verdict.wait_bound == Checker::kUnbounded ? "null" : std::to_string(verdict.wait_bound));
  }
  if (asked().minimized_from != 0) json.add("minimized_from", asked().minimized_from);
  json.add("program", input_json());
  json.add("ran", steps_json());
  std::printf("%s\n", json.text().c_str());
}

// ---- as text ----

void print_text(const PolicyRow& policy) {
  const ScheduleVerdict& verdict = scheduler().verdict();
  if (verdict.violated) {
    print_schedule_finding(stdout, scheduler(), policy);
    return;
  }
  std::printf("policy %s passes: %zu steps, %zu interruptions, %llu cycles, %llu stacks shrunk\n", policy.name.data(),
              verdict.steps, verdict.switches, static_cast<unsigned long long>(verdict.cycles),
              static_cast<unsigned long long>(verdict.shrinks));
  print_faults(stdout, verdict);
  print_steps(stdout, scheduler());
}

// What ends the process in the middle of a run is a finding, not a crash of the tool.
[[noreturn]] void stopped_by(const char* what) {
  std::fflush(stdout);
  if (const PolicyRow* policy = scheduler().running(); asked().options.json && policy != nullptr) {
    print_json(*policy, what);
  } else {
    print_schedule_stop(stdout, scheduler(), what);
  }
  const ScheduleOptions& options = asked().options;
  if (!options.minimize_to.empty() || !options.html.empty()) {
    std::fputs("stackdrain: the run was stopped in the middle: nothing is written to --minimize-to or --html\n",
               stderr);
  }
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

// After what was found is printed: it may have taken long, and a file system may have become full.
void write_all(const PolicyRow& policy, const std::vector<uint8_t>& input) {
  const ScheduleOptions& options = asked().options;
  if (!options.minimize_to.empty()) {
    write_file(options.minimize_to, schedule_text({input.data(), input.size()}), "--minimize-to");
  }
  if (options.html.empty()) return;
  const std::string command = "./stackdrain schedule " + asked().path + " --policy " + std::string(policy.name) +
                              (options.defect.empty() ? "" : " --defect " + options.defect);
  write_file(options.html, schedule_page(scheduler(), policy, command), "--html");
}

}  // namespace

int schedule_verb(const std::string& path, const ScheduleOptions& options) {
  asked() = {path, options};
  if (options.json && (options.minimize_to == "-" || options.html == "-")) {
    throw InputError("--json is what standard output gets; name a file for --minimize-to and --html");
  }
  if (!options.minimize_to.empty()) check_writable(options.minimize_to, "--minimize-to");
  if (!options.html.empty()) check_writable(options.html, "--html");
  on_check_failure = +[] { stopped_by_assertion(); };
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, stopped_by_signal);
  std::vector<uint8_t> input = read_input(path);
  const PolicyRow& policy = chosen(input, options.policy);
  if (asked().minimizes()) {
    if (!run(input, policy).violated) throw InputError(path + ": passes; --minimize wants an input that fails");
    asked().minimized_from = scheduler().input().program.size();
    input = minimize_schedule(scheduler(), input, policy);
  }
  const bool violated = run(input, policy).violated;
  if (options.json) {
    print_json(policy, {});
  } else {
    print_text(policy);
  }
  write_all(policy, input);
  return violated ? 1 : 0;
}

}  // namespace stackdrain
