#include "fuzz/probe.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

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
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return text;
}

void say_signature(const Signature& signature) {
  std::fputs(signature.data(), out);
}

}  // namespace

std::string probe(Machine& machine, ProgramView program, const PolicyRow* policy) {
  return said_in_child([&] {
    watch_for_stops(machine,
                    [](const char*) { say_signature(signature_of_stop(running->verdict().site, running->seen())); });
    if (policy != nullptr) {
      const Verdict& verdict = machine.run(program, *policy);
      if (verdict.violated) say_signature(signature_of(verdict));
      return;
    }
    Differential differential(machine);
    const Difference& difference = differential.run(program);
    if (difference.found()) say_signature(signature_of(program, difference, machine.verdict()));
  });
}

std::string said_by(Machine& machine, const std::function<void(std::FILE*)>& speak) {
  return said_in_child([&] {
    watch_for_stops(machine, [](const char* stopped_by) { print_stop(out, *running, stopped_by); });
    speak(out);
  });
}

}  // namespace stackdrain
