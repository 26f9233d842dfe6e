#include "fuzz/probe.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "fuzz/differential.h"
#include "fuzz/explain.h"
#include "fuzz/signature.h"

namespace stackdrain {
namespace {

constexpr unsigned kMostSeconds = 20;

// Of the child: where it speaks, and what it says when something ends it.
std::FILE* out = nullptr;
const Machine* running = nullptr;
void (*say_stop)(const char* stopped_by) = nullptr;

[[noreturn]] void stopped(const char* by) {
  say_stop(by);
  std::fflush(out);
  _exit(1);
}

void by_signal(int signal) {
  stopped(signal == SIGALRM ? "the clock: it does not end" : "a crash of the pool");
}

void watch_for_stops(const Machine& machine, void (*say)(const char*)) {
  running = &machine;
  say_stop = say;
  on_check_failure = +[] { stopped("the pool's own assertion"); };
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGALRM}) std::signal(signal, by_signal);
  alarm(kMostSeconds);
}

std::string read_all(int from) {
  std::string text;
  std::array<char, 4096> part;
  for (;;) {
    const ssize_t got = read(from, part.data(), part.size());
    if (got > 0) text.append(part.data(), static_cast<size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) return text;
  }
}

// Runs `what`, which speaks into `out`, in a child, and answers what it said. An assertion's own line is not for
// people.
template <class What>
std::string said_in_child(What what) {
  std::array<int, 2> ends;
  if (pipe(ends.data()) != 0) std::abort();
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) {
    close(ends[0]);
    out = fdopen(ends[1], "w");
    if (out == nullptr || std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
    what();
    std::fflush(out);
    _exit(0);
  }
  close(ends[1]);
  std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0 && text.empty()) text = "stop";  // without a word: a sanitizer's end, or a signal nobody waits for
  return text;
}

constexpr std::string_view kAtEnd = " at the end";

void say(const Signature& signature, bool at_end) {
  std::fprintf(out, "%s%s", signature.data(), at_end ? kAtEnd.data() : "");
}

Probed probed_of(std::string said) {
  const bool at_end = said.ends_with(kAtEnd);
  if (at_end) said.resize(said.size() - kAtEnd.size());
  return {std::move(said), at_end};
}

}  // namespace

Probed probe(Machine& machine, ProgramView program, const PolicyRow* policy) {
  return probed_of(said_in_child([&] {
    watch_for_stops(machine, [](const char*) {
      const bool at_end = running->current_index() >= running->program().size();
      say(signature_of_stop(running->verdict().site, running->seen()), at_end);
    });
    if (policy != nullptr) {
      const Verdict& verdict = machine.run(program, *policy);
      if (verdict.violated) say(signature_of(verdict), verdict.index >= program.size());
      return;
    }
    Differential differential(machine);
    const Difference& difference = differential.run(program);
    if (difference.found()) {
      say(signature_of(program, difference, machine.verdict()), difference.index >= program.size());
    }
  }));
}

std::string said_by(Machine& machine, const std::function<void(std::FILE*)>& speak) {
  return said_in_child([&] {
    watch_for_stops(machine, [](const char* stopped_by) { print_stop(out, *running, stopped_by); });
    speak(out);
  });
}

}  // namespace stackdrain
