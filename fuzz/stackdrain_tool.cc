// stackdrain_tool: the verbs that look at programs and traces: run, explain, schedule, explore, ops, replay, list. The
// `stackdrain` command calls it.
//
// Exit codes: 0 fine, 1 a violation or a failed expectation, 2 bad usage, bad input, or output that can't be written
// (one line on standard error).
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "fuzz/differential.h"
#include "fuzz/explain.h"
#include "fuzz/explain_tool.h"
#include "fuzz/explore_tool.h"
#include "fuzz/faults.h"
#include "fuzz/machine.h"
#include "fuzz/replay_tool.h"
#include "fuzz/schedule_tool.h"
#include "fuzz/tool.h"
#include "target/defects.h"

ABSL_FLAG(std::string, policy, "", "a policy's name, 'all' or 'sound'");
ABSL_FLAG(std::string, defect, "", "a planted defect to switch on");
ABSL_FLAG(std::string, preset, "go1.19", "replay: the pool's parameters, seed or go1.19");
ABSL_FLAG(std::string, out, "-", "ops: where to write; '-' is standard output");
ABSL_FLAG(bool, expect, false, "run: hold the file to its '# expect:' lines");
ABSL_FLAG(bool, json, false, "one machine-readable object instead of a table");
ABSL_FLAG(bool, names, false, "list: names only, one a line");
ABSL_FLAG(double, recorded, 0, "replay: at recorded speed, the traces that took at most so many seconds");
ABSL_FLAG(bool, all_cycles, false, "replay: a row for every cycle");
ABSL_FLAG(std::string, world, "", "explore: a world of its table; every one if empty");
ABSL_FLAG(uint32_t, depth, 6, "explore: the longest program");
ABSL_FLAG(double, seconds, 0, "explore: a bound for each policy and world; 0 is none");
ABSL_FLAG(uint32_t, megabytes, 2000, "explore: a bound for what is kept; 0 is none");
ABSL_FLAG(bool, minimize, false, "explain: look for the smallest program that fails in the same way");
ABSL_FLAG(std::string, minimize_to, "", "explain: the same, and write it there");
ABSL_FLAG(std::string, html, "", "explain: write a timeline to look at");
ABSL_FLAG(std::string, cpp, "", "explain: write a C++ program that does the same");
ABSL_FLAG(std::string, bundle, "", "explain: write all of it into a new folder");
ABSL_FLAG(std::string, commit, "unknown", "explain: of the source, for the bundle");

namespace stackdrain {
namespace {

using Arguments = std::vector<std::string>;

Machine& machine() {
  static Machine& instance = []() -> Machine& {
    Machine& made = *new Machine;  // lives as long as the process
    made.walk_always(true);
    return made;
  }();
  return instance;
}

// The pool's own assertion failed: that is a finding, not a crash of the tool.
[[noreturn]] void stopped_by_assertion() {
  print_stop(stdout, machine(), "the pool's own assertion");
  std::_Exit(end_output(1));
}

// A broken pool may follow a wild pointer, too. The process ends here, so what print_stop does is allowed to fail.
[[noreturn]] void stopped_by_signal(int signal) {
  std::signal(signal, SIG_DFL);
  print_stop(stdout, machine(), "a crash of the pool");
  std::_Exit(end_output(1));
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, separator);) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

// A finding as one JSON object; the message holds no character that needs escaping.
void print_json(const std::string& path, const PolicyRow& policy, const Verdict& verdict) {
  std::printf("{\"input\":%s,\"policy\":\"%s\",\"violated\":%s,\"operations\":%zu,\"no_ops\":%zu",
              json_string(path).c_str(), policy.name.data(), verdict.violated ? "true" : "false", verdict.operations,
              verdict.no_ops);
  if (verdict.violated) {
    std::printf(",\"invariant\":\"%s\",\"index\":%zu,\"message\":\"%s\"", id_of(verdict.violation.invariant).data(),
                verdict.index, verdict.violation.message.data());
  }
  std::printf("}\n");
}

// What a pool that shows no places can't be held to.
std::string unchecked_ids() {
  std::string text;
  for (const Invariant invariant : kNeedsPlaces) text += joined({text.empty() ? "" : " ", id_of(invariant)});
  return text;
}

// The same behind a verdict; nothing for pools that show them.
std::string unchecked(const PolicyRow& policy) {
  if (policy.claims.tells_places) return "";
  return joined({"; shows no spans or slots, so not checked: ", unchecked_ids()});
}

bool run_one(const std::string& path, const std::vector<uint8_t>& bytes, const PolicyRow& policy) {
  const ProgramView program(bytes.data(), bytes.size());
  const Verdict& verdict = machine().run(program, policy);
  if (absl::GetFlag(FLAGS_json)) {
    print_json(path, policy, verdict);
  } else if (!verdict.violated) {
    std::printf("%-20s passes   %zu operations, %zu no-ops, %llu cycles, %llu stacks shrunk%s\n", policy.name.data(),
                verdict.operations, verdict.no_ops, static_cast<unsigned long long>(verdict.cycles),
                static_cast<unsigned long long>(verdict.shrinks), unchecked(policy).c_str());
  } else {
    std::printf("%-20s VIOLATES %s at operation %zu (`", policy.name.data(), id_of(verdict.violation.invariant).data(),
                verdict.index);
    char text[kMaxOperationText] = "the end";
    if (verdict.index < program.size()) format_operation(program[verdict.index], text, sizeof text);
    std::printf("%s`)\n    %s\n", text, verdict.violation.message.data());
  }
  return !verdict.violated;
}

// ---- expectations: `# expect: POLICY|sound pass|ID[|ID…]` and `# expect: defect=NAME POLICY ID[|ID…]` ----

struct Expectation {
  std::string defect;
  std::string policy;
  std::vector<std::string> verdicts;
};

std::vector<Expectation> read_expectations(const std::string& path) {
  std::vector<Expectation> expectations;
  size_t number = 0;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const std::string_view prefix = "# expect: ";
    if (!line.starts_with(prefix)) continue;
    std::vector<std::string> words = split(line.substr(prefix.size()), ' ');
    Expectation expectation;
    if (!words.empty() && words[0].starts_with("defect=")) {
      expectation.defect = words[0].substr(7);
      words.erase(words.begin());
    }
    if (words.size() != 2) {
      throw InputError(joined({path, ":", std::to_string(number), ": expect wants [defect=NAME] POLICY pass|ID[|ID]"}));
    }
    expectation.policy = words[0];
    expectation.verdicts = split(words[1], '|');
    expectations.push_back(expectation);
  }
  if (expectations.empty()) throw InputError(path + ": has no '# expect:' line; say what must come of it");
  return expectations;
}

// The policy's name, where a policy is named, for a run of all sound ones against each other.
constexpr std::string_view kDifferential = "differential";

Differential& differential() {
  static Differential& instance = *new Differential(machine());  // lives as long as the process
  return instance;
}

// What a program comes to: "pass", or the invariant.
std::string outcome_of(const Difference& difference) {
  if (!difference.found()) return "pass";
  return std::string(id_of(difference.by_itself ? machine().verdict().violation.invariant : Invariant::kG2));
}

bool meets_differential(const std::string& path, const std::vector<uint8_t>& bytes, const Expectation& expectation) {
  const Difference& difference = differential().run({bytes.data(), bytes.size()});
  const std::string got = outcome_of(difference);
  for (const std::string& wanted : expectation.verdicts) {
    if (wanted == got) return true;
  }
  std::printf("%s: differential: expected %s, got %s: %s\n", path.c_str(), expectation.verdicts[0].c_str(), got.c_str(),
              difference.message.data());
  return false;
}

bool meets(const std::string& path, const std::vector<uint8_t>& bytes, const Expectation& expectation) {
  plant_defect(expectation.defect.empty() ? "none" : expectation.defect);
  if (expectation.policy == kDifferential) return meets_differential(path, bytes, expectation);
  bool all = true;
  for (const PolicyRow* policy : choose_policies(expectation.policy)) {
    const Verdict& verdict = machine().run({bytes.data(), bytes.size()}, *policy);
    const std::string got(verdict.violated ? id_of(verdict.violation.invariant) : "pass");
    bool met = false;
    for (const std::string& wanted : expectation.verdicts) met = met || wanted == got;
    if (!met) {
      std::printf("%s: %s%s: expected %s, got %s%s%s\n", path.c_str(), policy->name.data(),
                  expectation.defect.empty() ? "" : (" with defect " + expectation.defect).c_str(),
                  expectation.verdicts[0].c_str(), got.c_str(), verdict.violated ? ": " : "",
                  verdict.violated ? verdict.violation.message.data() : "");
    }
    all = all && met;
  }
  return all;
}

int run_expectations(const Arguments& files) {
  size_t held = 0;
  size_t failed = 0;
  for (const std::string& path : files) {
    const std::vector<uint8_t> bytes = read_program(path);
    for (const Expectation& expectation : read_expectations(path)) {
      ++(meets(path, bytes, expectation) ? held : failed);
    }
  }
  std::printf("%zu files: %zu expectations held, %zu failed\n", files.size(), held, failed);
  return failed == 0 ? 0 : 1;
}

// ---- verbs ----

int run_verb(const Arguments& files) {
  if (files.empty()) throw InputError("run wants a program: stackdrain run PROGRAM.ops [--policy P|all]");
  if (absl::GetFlag(FLAGS_expect)) return run_expectations(files);
  plant_defect(absl::GetFlag(FLAGS_defect));
  const std::string chosen = absl::GetFlag(FLAGS_policy);
  const std::vector<const PolicyRow*> rows = choose_policies(chosen.empty() ? "all" : chosen);
  bool passes = true;
  for (const std::string& path : files) {
    const std::vector<uint8_t> bytes = read_program(path);
    for (const PolicyRow* policy : rows) passes = run_one(path, bytes, *policy) && passes;
  }
  return passes ? 0 : 1;
}

int explain_verb_with_flags(const Arguments& files) {
  if (files.size() != 1) throw InputError("explain wants one input: stackdrain explain INPUT [--policy P]");
  plant_defect(absl::GetFlag(FLAGS_defect));
  return explain_verb(machine(), files[0],
                      {.policy = absl::GetFlag(FLAGS_policy),
                       .defect = absl::GetFlag(FLAGS_defect),
                       .minimize = absl::GetFlag(FLAGS_minimize),
                       .minimize_to = absl::GetFlag(FLAGS_minimize_to),
                       .html = absl::GetFlag(FLAGS_html),
                       .cpp = absl::GetFlag(FLAGS_cpp),
                       .bundle = absl::GetFlag(FLAGS_bundle),
                       .commit = absl::GetFlag(FLAGS_commit),
                       .json = absl::GetFlag(FLAGS_json)});
}

int ops_verb(const Arguments& arguments) {
  const char* usage = "ops wants: stackdrain ops encode|decode|check FILE, or stackdrain ops dictionary";
  if (arguments.size() == 1 && arguments[0] == "dictionary") {
    write_file(absl::GetFlag(FLAGS_out), dictionary());
    return 0;
  }
  if (arguments.size() != 2) throw InputError(usage);
  const std::string& path = arguments[1];
  if (arguments[0] == "decode") {
    const std::string bytes = read_file(path);
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
    write_file(absl::GetFlag(FLAGS_out), to_text({data, bytes.size()}));
    return 0;
  }
  if (arguments[0] != "encode" && arguments[0] != "check") throw InputError(usage);
  std::vector<uint8_t> bytes;
  if (const auto error = parse_text(read_file(path), bytes)) {
    throw InputError(joined({path, ":", std::to_string(error->line), ": ", error->message}));
  }
  if (arguments[0] == "encode") {
    write_file(absl::GetFlag(FLAGS_out), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  } else if (absl::GetFlag(FLAGS_json)) {
    std::printf("{\"input\": %s, \"operations\": %zu, \"bytes\": %zu}\n", json_string(path).c_str(),
                bytes.size() / kBytesPerOperation, bytes.size());
  } else {
    std::printf("%s: %zu operations, %zu bytes\n", path.c_str(), bytes.size() / kBytesPerOperation, bytes.size());
  }
  return 0;
}

// A member of a row as JSON: its value is JSON already.
struct Member {
  std::string_view key;
  std::string value;
};

void print_row(std::string_view name, std::string_view text, const std::vector<Member>& members) {
  if (absl::GetFlag(FLAGS_names)) {
    std::printf("%s\n", std::string(name).c_str());
  } else if (absl::GetFlag(FLAGS_json)) {
    std::string json = joined({"{\"name\": ", json_string(name)});
    for (const Member& member : members) json += joined({", \"", member.key, "\": ", member.value});
    std::printf("%s}\n", json.c_str());
  } else {
    std::printf("%-26s %s\n", std::string(name).c_str(), std::string(text).c_str());
  }
}

std::string json_bool(bool value) {
  return value ? "true" : "false";
}

// The words of a text as an array.
std::string json_words(const std::string& text) {
  std::string json = "[";
  for (const std::string& word : split(text, ' ')) json += joined({json.size() == 1 ? "" : ", ", json_string(word)});
  return json + "]";
}

void list_policies() {
  for (const PolicyRow& row : policies()) {
    print_row(row.name,
              joined({row.summary, " [", row.origin, row.claims.sound ? "]" : "; not sound]", unchecked(row)}),
              {{"what", json_string(row.summary)},
               {"origin", json_string(row.origin)},
               {"sound", json_bool(row.claims.sound)},
               {"unchecked", json_words(row.claims.tells_places ? "" : unchecked_ids())}});
  }
}

void list_operations() {
  if (!absl::GetFlag(FLAGS_names) && !absl::GetFlag(FLAGS_json)) {
    std::printf("%s", operations_help().c_str());
    return;
  }
  for (const OperationRow& row : kOperations) {
    print_row(row.name, row.help, {{"form", json_string(operation_form(row))}, {"what", json_string(row.help)}});
  }
}

void list_defects() {
  for (const DefectRow& row : kDefects) {
    print_row(row.name, joined({row.what, " (", row.reference, "; may be reported by ", row.reported_by, ")"}),
              {{"what", json_string(row.what)},
               {"reference", json_string(row.reference)},
               {"reported_by", json_words(std::string(row.reported_by))}});
  }
}

void list_invariants() {
  for (const InvariantRow& row : kInvariants) {
    const bool needs_places = std::ranges::any_of(kNeedsPlaces, [&row](Invariant i) { return id_of(i) == row.id; });
    print_row(row.id, joined({"[", row.cost, "] ", row.what, row.held.empty() ? " (not held yet)" : ""}),
              {{"what", json_string(row.what)},
               {"cost", json_string(row.cost)},
               {"held", json_string(row.held)},
               {"needs_places", json_bool(needs_places)}});
  }
}

void list_faults() {
  for (const FaultRow& row : kFaults) {
    print_row(row.name, joined({row.what, "; ", row.ends}),
              {{"what", json_string(row.what)}, {"ends", json_string(row.ends)}});
  }
}

// The one table of what `list` knows.
struct ListRow {
  std::string_view name;
  void (*print)();
};
constexpr ListRow kLists[] = {{"policies", list_policies},
                              {"operations", list_operations},
                              {"defects", list_defects},
                              {"invariants", list_invariants},
                              {"faults", list_faults}};

int list_verb(const Arguments& arguments) {
  std::string known;
  for (const ListRow& row : kLists) {
    if (arguments.size() == 1 && arguments[0] == row.name) {
      row.print();
      return 0;
    }
    known += joined({known.empty() ? "" : "|", row.name});
  }
  throw InputError("list wants one of: stackdrain list " + known);
}

int replay_verb_with_flags(const Arguments& arguments) {
  const std::string chosen = absl::GetFlag(FLAGS_policy);
  return replay_verb(arguments, {.policy = chosen.empty() ? "sound" : chosen,
                                 .preset = absl::GetFlag(FLAGS_preset),
                                 .json = absl::GetFlag(FLAGS_json),
                                 .all_cycles = absl::GetFlag(FLAGS_all_cycles),
                                 .recorded = absl::GetFlag(FLAGS_recorded)});
}

int explore_verb_with_flags(const Arguments& arguments) {
  if (!arguments.empty()) throw InputError("explore takes no further argument '" + arguments[0] + "'");
  plant_defect(absl::GetFlag(FLAGS_defect));
  const std::string chosen = absl::GetFlag(FLAGS_policy);
  return explore_verb(machine(), {.policy = chosen.empty() ? "sound" : chosen,
                                  .defect = absl::GetFlag(FLAGS_defect),
                                  .world = absl::GetFlag(FLAGS_world),
                                  .depth = absl::GetFlag(FLAGS_depth),
                                  .seconds = absl::GetFlag(FLAGS_seconds),
                                  .megabytes = absl::GetFlag(FLAGS_megabytes),
                                  .out = absl::GetFlag(FLAGS_out),
                                  .json = absl::GetFlag(FLAGS_json)});
}

int schedule_verb_with_flags(const Arguments& files) {
  if (files.size() != 1) throw InputError("schedule wants one input: stackdrain schedule INPUT [--policy P]");
  plant_defect(absl::GetFlag(FLAGS_defect));
  return schedule_verb(files[0], {.policy = absl::GetFlag(FLAGS_policy),
                                  .defect = absl::GetFlag(FLAGS_defect),
                                  .minimize = absl::GetFlag(FLAGS_minimize),
                                  .minimize_to = absl::GetFlag(FLAGS_minimize_to),
                                  .html = absl::GetFlag(FLAGS_html),
                                  .json = absl::GetFlag(FLAGS_json)});
}

struct VerbRow {
  std::string_view name;
  int (*run)(const Arguments&);
};
constexpr VerbRow kVerbs[] = {{"run", run_verb},
                              {"explain", explain_verb_with_flags},
                              {"ops", ops_verb},
                              {"replay", replay_verb_with_flags},
                              {"explore", explore_verb_with_flags},
                              {"schedule", schedule_verb_with_flags},
                              {"list", list_verb}};

int dispatch(const Arguments& arguments) {
  std::string known;
  for (const VerbRow& row : kVerbs) {
    if (!arguments.empty() && arguments[0] == row.name) return row.run({arguments.begin() + 1, arguments.end()});
    known += joined({known.empty() ? "" : ", ", row.name});
  }
  throw InputError("wants a verb: " + known);
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("stackdrain_tool run|explain|schedule|explore|ops|replay|list …; see stackdrain --help");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  stackdrain::on_check_failure = +[] { stackdrain::stopped_by_assertion(); };
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, stackdrain::stopped_by_signal);
  int code = 2;
  try {
    code = stackdrain::dispatch({rest.begin() + 1, rest.end()});
  } catch (const stackdrain::InputError& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "stackdrain: %s\n", error.what());
  }
  return stackdrain::end_output(code);
}
