#include "fuzz/explain_tool.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>

#include "fuzz/bundle.h"
#include "fuzz/differential.h"
#include "fuzz/explain.h"
#include "fuzz/minimize.h"
#include "fuzz/probe.h"
#include "fuzz/reproducer.h"
#include "fuzz/timeline_html.h"
#include "fuzz/tool.h"

namespace stackdrain {
namespace {

constexpr std::string_view kDifferential = "differential";

// What is explained.
struct Case {
  std::string path;
  ExplainOptions options;
  std::vector<uint8_t> input;    // as given
  std::vector<uint8_t> program;  // smaller, if that was asked for
  Minimized minimized;
  const PolicyRow* policy = nullptr;  // nullptr: the sound ones against each other
  std::string signature;              // "": it passes
  Difference difference;              // if policy is nullptr
  std::string text;                   // the explanation
  std::vector<Recording> recordings;  // of the policy, or of both sides

  ProgramView view() const { return {program.data(), program.size()}; }
  bool fails() const { return !signature.empty(); }
  bool minimizes() const { return options.minimize || !options.minimize_to.empty(); }
  bool records() const {
    return options.json || !options.html.empty() || !options.cpp.empty() || !options.bundle.empty();
  }
};

// The first policy that fails, the sound ones before the others; the first of all if none does.
void choose_policy(Machine& machine, Case& it) {
  const bool differential = it.options.policy == kDifferential;
  const ProgramView program = it.view();
  if (differential) {
    it.signature = probe(machine, program, nullptr).signature;
    if (!it.fails() || it.signature.starts_with("G2@")) return;
  }
  const std::string& wanted = it.options.policy;
  const std::vector<const PolicyRow*> known = choose_policies(wanted.empty() || differential ? "all" : wanted);
  std::vector<const PolicyRow*> rows;
  for (const bool sound : {true, false}) {
    std::copy_if(known.begin(), known.end(), std::back_inserter(rows),
                 [&](const PolicyRow* row) { return row->claims.sound == sound; });
  }
  it.policy = rows.front();
  for (const PolicyRow* row : rows) {
    it.signature = probe(machine, program, row).signature;
    if (!it.fails()) continue;
    it.policy = row;
    return;
  }
}

void make_smaller(Machine& machine, Case& it) {
  // What an operation shows is a better story than what the machine finds when it tidies up.
  const Probed wanted = probe(machine, it.view(), it.policy);
  const auto same = [&](ProgramView program) { return probe(machine, program, it.policy) == wanted; };
  it.minimized = minimize(it.view(), same);
  it.program = it.minimized.program;
}

std::string flags_of(const Case& it) {
  std::string flags = " --policy " + std::string(it.policy == nullptr ? kDifferential : it.policy->name);
  return it.options.defect.empty() ? flags : flags + " --defect " + it.options.defect;
}

std::string smaller_text(const Case& it) {
  const size_t before = it.input.size() / kBytesPerOperation;
  const size_t after = it.view().size();
  std::string text = "minimised: " + std::to_string(before) + " operations to " + std::to_string(after) + ", in " +
                     std::to_string(it.minimized.tries) + " tries" +
                     (it.minimized.complete ? "" : " (all there were; run it on the result again)") + "\n\n";
  return text + to_text(it.view()) + "\n";
}

void speak(std::FILE* out, Machine& machine, const Case& it) {
  const ProgramView program = it.view();
  if (it.policy != nullptr) {
    explain(out, machine, program, *it.policy);
    return;
  }
  Differential differential(machine);
  const Difference difference = differential.run(program);
  if (!difference.found()) {
    std::fprintf(out, "every sound policy passes, and a program sees no difference: %zu operations\n", program.size());
    return;
  }
  explain(out, machine, program, *difference.left);
  explain(out, machine, program, *difference.right);
  print_difference(out, program, difference, machine);
}

// What the program comes to under the other policies.
std::string others_text(Machine& machine, const Case& it) {
  if (it.policy == nullptr || !it.options.policy.empty()) return "";
  std::string same;
  std::string passes;
  std::string rest;
  for (const PolicyRow& row : policies()) {
    if (&row == it.policy) continue;
    const std::string signature = probe(machine, it.view(), &row).signature;
    std::string& list = signature.empty() ? passes : signature == it.signature ? same : rest;
    list += (list.empty() ? "" : ", ") + std::string(row.name);
    if (&list == &rest) list += " (" + signature + ")";
  }
  std::string text;
  if (!same.empty()) text += "the same under: " + same + "\n";
  if (!rest.empty()) text += "otherwise under: " + rest + "\n";
  if (!passes.empty()) text += "passes under: " + passes + "\n";
  return text;
}

// ---- what is written ----

std::string invariant_of(const Case& it) {
  if (it.policy == nullptr) return it.fails() ? std::string(id_of(Invariant::kG2)) : "";
  const Verdict& verdict = it.recordings.front().verdict;
  return verdict.violated ? std::string(id_of(verdict.violation.invariant)) : "";
}

std::string message_of(const Case& it) {
  if (it.policy == nullptr) return it.fails() ? it.difference.message.data() : "";
  const Recording& recording = it.recordings.front();
  if (recording.verdict.violated) return recording.verdict.violation.message.data();
  return recording.failed() ? "the process was stopped by " + recording.stopped_by : "";
}

size_t index_of(const Case& it) {
  return it.policy == nullptr ? it.difference.index : it.recordings.front().verdict.index;
}

std::string page_of(const Case& it, const std::string& path) {
  const std::string under =
      it.policy == nullptr ? "between policies" : "under " + std::string(it.recordings.front().policy->name);
  PageFacts facts;
  facts.headline = it.fails() ? it.signature + " " + under : "Passes " + under;
  for (const InvariantRow& row : kInvariants) {
    if (row.id == invariant_of(it)) facts.invariant = std::string(row.id) + ": " + std::string(row.what);
  }
  facts.message = message_of(it);
  facts.reproduce = "./stackdrain explain " + path + flags_of(it);
  return timeline_page(it.recordings, facts);
}

std::string program_json(ProgramView program, const char* separator) {
  std::string text;
  for (size_t i = 0; i < program.size(); ++i) text += (i == 0 ? "" : separator) + json_string(text_of(program, i));
  return text;
}

// Members of a JSON object.
std::string facts_json(const Case& it, const std::string& between) {
  std::string json = "\"input\": " + json_string(it.path);
  const auto add = [&](const char* name, const std::string& value) {
    json += "," + between + "\"" + name + "\": " + value;
  };
  add("policy", json_string(it.policy == nullptr ? kDifferential : it.policy->name));
  if (it.policy == nullptr && it.fails()) {
    add("left", json_string(it.difference.left->name));
    add("right", json_string(it.difference.right->name));
  }
  if (!it.options.defect.empty()) add("defect", json_string(it.options.defect));
  add("violated", it.fails() ? "true" : "false");
  add("operations", std::to_string(it.view().size()));
  if (it.fails()) {
    add("invariant", invariant_of(it).empty() ? "null" : json_string(invariant_of(it)));
    add("index", std::to_string(index_of(it)));
    add("signature", json_string(it.signature));
    add("message", json_string(message_of(it)));
  }
  if (it.minimizes()) {
    add("minimized_from", std::to_string(it.input.size() / kBytesPerOperation));
    add("tries", std::to_string(it.minimized.tries));
    add("complete", it.minimized.complete ? "true" : "false");
  }
  add("program", "[" + program_json(it.view(), ", ") + "]");
  return json;
}

std::string ops_of(const Case& it) {
  return "# " + it.signature + "\n# ./stackdrain explain program.ops" + flags_of(it) + "\n" + to_text(it.view());
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

void write_bundle_of(const Case& it) {
  const bool text_input = it.path.ends_with(".ops");
  const size_t map = it.text.find("span map before it");
  std::vector<BundleFile> files = {
      {text_input ? "input.ops" : "input", "what was explained, as it came", read_file(it.path)},
      {"program.ops", it.minimizes() ? "the smallest program that does the same" : "the same as text", ops_of(it)},
      {"explanation.txt", "operation by operation, with what broke", it.text},
      {"span-map.txt", "the arena before and after it", map == std::string::npos ? "" : it.text.substr(map)},
      {"timeline.html", "a picture of the run; needs nothing but a browser", page_of(it, "program.ops")}};
  if (it.policy != nullptr) {
    files.push_back({"program.cpp", "the same calls on the pool alone; its first lines say how to compile it",
                     reproducer_of(it.recordings.front(), "program.cpp")});
  }
  std::string facts = "  \"schema\": 1,\n  " + facts_json(it, "\n  ");
  facts += ",\n  \"commit\": " + json_string(it.options.commit) + ",\n  \"compiler\": " + json_string(compiler()) +
           ",\n  \"reproduce\": " + json_string("./stackdrain explain program.ops" + flags_of(it));
  write_bundle(it.options.bundle, facts, files);
}

// What was found is printed first: to look for a smallest program takes long, and a file system may have become full.
void write_all(const Case& it) {
  const ExplainOptions& options = it.options;
  if (options.json) std::printf("{%s}\n", facts_json(it, " ").c_str());
  if (!options.minimize_to.empty()) write_file(options.minimize_to, ops_of(it), "--minimize-to");
  if (!options.html.empty()) write_file(options.html, page_of(it, it.path), "--html");
  if (!options.cpp.empty()) write_file(options.cpp, reproducer_of(it.recordings.front(), options.cpp), "--cpp");
  if (!options.bundle.empty()) write_bundle_of(it);
}

// ---- recording; what ends the process meanwhile is a part of the recording ----

Machine* recording_machine = nullptr;
Case* recorded = nullptr;

[[noreturn]] void finish_stopped(const char* stopped_by) {
  stop_recording(*recording_machine, stopped_by, recorded->recordings.back());
  int code = 1;
  try {
    write_all(*recorded);
  } catch (const InputError& error) {
    std::fprintf(stderr, "stackdrain: %s\n", error.what());
    code = 2;
  }
  std::_Exit(end_output(code));
}

void finish_crashed(int signal) {
  std::signal(signal, SIG_DFL);
  finish_stopped("a crash of the pool");
}

// While it lives, what ends the process writes what was asked for first.
class Recorder {
 public:
  Recorder(Machine& machine, Case& it) {
    recording_machine = &machine;
    recorded = &it;
    on_check_failure = +[] { finish_stopped("the pool's own assertion"); };
    for (const int signal : kSignals) std::signal(signal, finish_crashed);
  }
  ~Recorder() {
    for (const int signal : kSignals) std::signal(signal, SIG_DFL);
    on_check_failure = nullptr;
    recorded = nullptr;
    recording_machine = nullptr;
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

 private:
  static constexpr std::array kSignals = {SIGSEGV, SIGBUS, SIGFPE};
};

void record_all(Machine& machine, Case& it) {
  const Recorder recorder(machine, it);
  std::vector<const PolicyRow*> rows = {it.policy};
  if (it.policy == nullptr) {
    it.difference = Differential(machine).run(it.view());
    rows = {it.difference.left, it.difference.right};
  }
  it.recordings.reserve(rows.size());
  for (const PolicyRow* row : rows) {
    if (row == nullptr) continue;  // no difference: the one side is enough
    it.recordings.emplace_back();
    record(machine, it.view(), *row, it.recordings.back());
  }
}

void refuse_what_cannot_be_written(const ExplainOptions& options) {
  const auto is_output = [](const std::string& path) { return path == "-"; };
  if (options.json && (is_output(options.minimize_to) || is_output(options.html) || is_output(options.cpp))) {
    throw InputError("--json is what standard output gets; name a file for --minimize-to, --html and --cpp");
  }
  if (!options.minimize_to.empty()) check_writable(options.minimize_to, "--minimize-to");
  if (!options.html.empty()) check_writable(options.html, "--html");
  if (!options.cpp.empty()) check_writable(options.cpp, "--cpp");
  if (!options.bundle.empty()) check_bundle_folder(options.bundle);
}

void refuse_what_needs_a_failure(const Case& it) {
  const ExplainOptions& options = it.options;
  const char* wants = it.minimizes()            ? "--minimize"
                      : !options.cpp.empty()    ? "--cpp"
                      : !options.bundle.empty() ? "--bundle"
                                                : nullptr;
  if (!it.fails() && wants != nullptr) {
    throw InputError(it.path + ": passes" + (options.policy.empty() ? " under every policy" : flags_of(it)) + "; " +
                     wants + " wants a program that fails");
  }
  if (it.policy == nullptr && !options.cpp.empty()) {
    throw InputError(it.path + ": differs between policies; --cpp wants a failure under one policy");
  }
}

}  // namespace

int explain_verb(Machine& machine, const std::string& path, const ExplainOptions& options) {
  refuse_what_cannot_be_written(options);
  Case it;
  it.path = path;
  it.options = options;
  it.input = read_program(path);
  it.input.resize(it.input.size() / kBytesPerOperation * kBytesPerOperation);
  it.program = it.input;
  choose_policy(machine, it);
  refuse_what_needs_a_failure(it);
  if (it.minimizes()) make_smaller(machine, it);
  const std::string smaller = it.minimizes() ? smaller_text(it) : "";
  if (!options.json || !options.bundle.empty()) {
    it.text = smaller + said_by(machine, [&](std::FILE* out) { speak(out, machine, it); }) + others_text(machine, it);
  }
  if (!options.json) std::fputs(it.text.c_str(), stdout);
  if (it.records()) record_all(machine, it);
  write_all(it);
  return it.fails() ? 1 : 0;
}

}  // namespace stackdrain
