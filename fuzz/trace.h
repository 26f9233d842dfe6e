// Trace: recorded stack operations of a real Go program, read from CSV (plain or zstd) and validated.
//
// The format is described in corpus/traces/README.md. A trace is read whole and checked whole before anything is
// replayed; the first thing that is wrong ends it with one line that names file, line, what and what to do. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace stackdrain {

enum class TraceKind : char {
  kAlloc = 'A',      // address, a: size
  kFree = 'F',       // address, a: size
  kCopy = 'C',       // old address, a: old size, b: new size, c: bytes in use
  kNew = 'N',        // stack, a: size
  kExit = 'X',       // stack, a: size
  kSpanTaken = 'P',  // base, a: span bytes, b: stack size
  kSpanGiven = 'Q',  // base, a: span bytes, b: stack size, c: 1 by the pass after the restart
  kStop = 'S',
  kMark = 'M',
  kTerminate = 'T',
  kUndo = 'U',
  kRestart = 'R',
  kPassBegin = 'B',
  kPassEnd = 'E',
};

struct TraceEvent {
  TraceKind kind = TraceKind::kAlloc;
  int32_t proc = -1;  // -1: the thread had no processor
  uint32_t goroutine = 0;
  uint64_t address = 0;
  uint64_t a = 0;
  uint64_t b = 0;
  uint64_t c = 0;
  int64_t dns = 0;  // ns since the row before; may be negative
};

struct Trace {
  std::string name;  // file name without folder and endings
  std::vector<TraceEvent> events;
  uint64_t allocations = 0;
  uint64_t frees = 0;
  uint64_t peak_bytes = 0;  // of stacks that live at a time
  int procs = 1;
};

// One line: file, line, what, what to do.
class TraceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Parses and validates a trace's text; `name` is for error messages.
Trace parse_trace(std::string_view csv, const std::string& name);
// Reads a .csv or .csv.zst file.
Trace read_trace(const std::string& path);

}  // namespace stackdrain
