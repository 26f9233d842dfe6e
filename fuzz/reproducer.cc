#include "fuzz/reproducer.h"

#include <array>
#include <cstdarg>
#include <cstdio>

#include "target/defects.h"

namespace stackdrain {

extern const std::string_view kReproducerSupport;

namespace {

class Text {
 public:
  void line(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    std::array<char, 600> buffer;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(buffer.data(), buffer.size(), format, arguments);
    va_end(arguments);
    text_ += buffer.data();
    text_ += '\n';
  }
  void add(std::string_view text) { text_ += text; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

const char* name_of(bool value) {
  return value ? "true" : "false";
}

// In double quotes.
std::string quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string_view without_pragma(std::string_view header) {
  const std::string_view pragma = "#pragma once\n";
  const size_t at = header.find(pragma);
  return header.substr(at == std::string_view::npos ? 0 : at + pragma.size());
}

std::string what_of(const Recording& recording) {
  if (recording.verdict.violated) return recording.verdict.violation.message.data();
  return "the process is stopped by " + recording.stopped_by;
}

bool stops(const Recording& recording) {
  return !recording.stopped_by.empty();
}

void write_head(Text& out, const Recording& recording, const std::string& name) {
  out.line("// %s under policy %s: what stackdrain saw, as calls on the pool alone.", recording.signature.c_str(),
           recording.policy->name.data());
  out.line("// %s", what_of(recording).c_str());
  out.line("//");
  out.line(
      "// Exit code 1: seen again. 0: not seen. At the project's root, after ./stackdrain explain has built the tool:");
  out.line(
      "//   clang++-19 -std=c++20 -DSTACKDRAIN_YIELDS=1 -DSTACKDRAIN_DEFECTS=1 -I. %s "
      "build/checked/target/libstackdrain_target.a -pthread -o reproducer",
      name.c_str());
  out.line(
      "#include <csignal>\n#include <cstdlib>\n\n#include \"target/arena.h\"\n#include \"target/defects.h\"\n"
      "#include \"target/drain/policies.h\"");
  out.add(without_pragma(kReproducerSupport));
}

void write_params(Text& out, const PoolParams& params) {
  constexpr std::array kHolds = {"kWhole", "kBatch", "kEach"};
  out.line("  PoolParams params;");
  out.line("  params.orders = %d;", params.orders);
  out.line("  params.locks = LockPlan::%s;", params.locks == LockPlan::kOneLock ? "kOneLock" : "kPerOrder");
  out.line("  params.procs = %d;", params.procs);
  out.line("  params.guard_bytes = %zu;", params.guard_bytes);
  out.line("  params.shrink_counts_guard = %s;", name_of(params.shrink_counts_guard));
  out.line("  params.max_stack_bytes = %zu;", params.max_stack_bytes);
  out.line("  params.grow_chunk_bytes = %zu;", params.grow_chunk_bytes);
  out.line("  params.arena_pages = %u;", params.arena_pages);
  out.line("  params.drain_hold = DrainHold::%s;", kHolds[static_cast<size_t>(params.drain_hold)]);
  out.line("  params.drain_batch = %u;", params.drain_batch);
  out.line("  params.least_share_bytes = %zu;", params.least_share_bytes);
  out.line("  params.first_chunks = %u;", params.first_chunks);
}

void write_defect(Text& out) {
#if STACKDRAIN_DEFECTS
  if (planted_defect == Defect::kNone) return;
  out.line("  for (size_t i = 0; i < kDefects.size(); ++i) {");
  out.line("    if (kDefects[i].name == \"%s\") planted_defect = static_cast<Defect>(i);",
           kDefects[static_cast<size_t>(planted_defect)].name.data());
  out.line("  }");
#else
  static_cast<void>(out);
#endif
}

void write_world(Text& out, const Recording& recording) {
  out.line("  static Arena arena(size_t{8} << 20);");
  out.line("  const auto made = find_policy(\"%s\")->make(arena);", recording.policy->name.data());
  out.line("  AnyPool& pool = *made;");
  write_params(out, recording.params);
  out.line("  pool.reset(params);");
  out.line("  static std::array<Goroutine, %zu> go;", kGoroutines);
  out.line("  for (uint32_t g = 0; g < go.size(); ++g) go[g].reset(g);");
  out.line("  static std::array<uintptr_t, %zu> heap{};", kHeapSlots);
  out.line("  Collector collector(pool, go);");
  out.line("  collector.set_heap_roots(heap);");
  out.line(
      "  InsideHook hook;\n  RelockHook locks;\n#if STACKDRAIN_YIELDS\n  yield_hook = &hook;\n  lock_hook = &locks;\n"
      "#endif");
}

// Sets `seen`.
void write_look(Text& out, const Recording& recording) {
  if (stops(recording)) {
    out.line("  const auto look = [] {};  // the call before it does not come back");
  } else if (recording.dangling) {
    out.line("  const auto look = [&] { seen = any_dangles(pool, collector); };");
  } else if (recording.relocked) {
    out.line("  const auto look = [&] { seen = locks.relocked(); };");
  } else {
    out.line("  const auto look = [&] { seen = StateText(pool, go, collector).text() == kStateThere; };");
  }
}

// The yield point's enumerator; the table of points has the words of programs.
std::string point_of(Yield point) {
  return "static_cast<Yield>(" + std::to_string(static_cast<unsigned>(point)) + ") /* " +
         std::string(kYieldPoints[static_cast<size_t>(point)].name) + " */";
}

class Calls {
 public:
  Calls(Text& out, const Recording& recording) : out_(out), recording_(recording) {}

  void write() {
    const std::vector<MadeCall>& calls = recording_.calls;
    for (size_t i = 0; i < calls.size();) {
      size_t end = i + 1;
      while (end < calls.size() && calls[end].nested) ++end;
      const bool last = end == calls.size();
      write_one(i, end, last && recording_.seen_inside);
      i = end;
    }
    if (!recording_.seen_inside) out_.line("  look();");
  }

 private:
  // The call and those that are made inside it.
  void write_one(size_t first, size_t end, bool seen_inside) {
    const std::vector<MadeCall>& calls = recording_.calls;
    const bool inside = end > first + 1 || seen_inside;
    comment(calls[first], "  ");
    if (inside) {
      const Yield point = end > first + 1 ? calls[first + 1].at : recording_.steps.back().at;
      out_.line("  hook.inside_next(%s, [&] {", point_of(point).c_str());
      for (size_t i = first + 1; i < end; ++i) {
        comment(calls[i], "    ");
        out_.line("    %s", calls[i].line.c_str());
      }
      if (seen_inside) out_.line("    look();");
      out_.line("  });");
    }
    out_.line("  %s", calls[first].line.c_str());
    if (inside) out_.line("  hook.over();");
  }

  void comment(const MadeCall& call, const char* indent) {
    if (call.index == last_) return;
    last_ = call.index;
    out_.line("%s// %zu: %s", indent, call.index, text_of(recording_.view(), call.index).c_str());
  }

  Text& out_;
  const Recording& recording_;
  size_t last_ = kNever;
};

}  // namespace

std::string reproducer_of(const Recording& recording, const std::string& name) {
  Text out;
  write_head(out, recording, name);
  out.line("\nnamespace {\n");
  out.line("constexpr const char* kWhat = %s;", quoted(recording.signature + ": " + what_of(recording)).c_str());
  const bool by_state = !stops(recording) && !recording.dangling && !recording.relocked;
  if (by_state) {
    out.add("constexpr const char* kStateThere = R\"state(");
    out.add(recording.state_there);
    out.add(")state\";\n");
  }
  out.line(
      "\n[[noreturn]] void ended() {\n  std::printf(\"seen: %%s\\n\", kWhat);\n  std::fflush(stdout);\n"
      "  std::_Exit(1);\n}\n\n}  // namespace\n");
  out.line("int main() {\n  using namespace stackdrain;");
  write_defect(out);
  if (stops(recording)) {
    out.line("  on_check_failure = +[] { ended(); };");
    out.line("  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, +[](int) { ended(); });");
  }
  write_world(out, recording);
  out.line("  bool seen = false;");
  write_look(out, recording);
  Calls(out, recording).write();
  out.line("#if STACKDRAIN_YIELDS\n  yield_hook = nullptr;\n  lock_hook = nullptr;\n#endif");
  out.line("  if (seen) ended();");
  out.line("  std::printf(\"not seen: %%s\\n%%s\", kWhat, StateText(pool, go, collector).text().c_str());");
  out.line("  return 0;\n}");
  return out.text();
}

}  // namespace stackdrain
