// Program: a list of operations, as bytes and as text; the currency of the whole suite.
//
// Two bytes an operation, a 16-bit little-endian word: bits 0-5 are the code, bits 6-15 ten argument bits, split
// into fields from the low end. Every byte string is a program: unused codes are reserved no-ops, unused bits are kept.
// Bytes -> text -> bytes is exact for every byte string. The encoding is append-only: new operations take reserved
// codes, nothing ever changes its meaning (program_test.cc holds that with golden words).
//
// Text: one operation a line, `name argument argument …`, `#` begins a comment. Everything here derives from the one
// table kOperations: codec, text form, help, dictionary. Needs nothing but the standard library.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/goroutine.h"
#include "target/params.h"
#include "target/yield.h"

namespace stackdrain {

inline constexpr int kCodeBits = 6;
inline constexpr int kArgumentBits = 10;
inline constexpr size_t kCodes = size_t{1} << kCodeBits;
inline constexpr size_t kBytesPerOperation = 2;

// How a field's value is written.
enum class FieldKind : uint8_t {
  kNone,
  kSpare,      // unused bits: `~N`, only when not zero
  kGoroutine,  // g0..g15
  kMarker,     // m0..m3
  kProc,       // p0..p3
  kHeapSlot,   // h0..h15
  kCount,      // a number, from 1 (value + 1)
  kNumber,     // a number, from 0
  kFrame,      // bytes of a frame: 128..8192
  kStackSize,
  kPreset,
  kOrders,
  kLocks,
  kMarking,
  kProcs,
  kArena,
  kHold,
  kWait,
  kRecords,
  kRoot,
  kZeroed,
  kPoint,
  kStatus,
  kAnyPoint,
};

struct FieldKindRow {
  char letter;     // 'g', 'm', 'p', 'h': letter and number; '~': spare; 'n': number; 'w': a word of `words`
  uint32_t scale;  // numbers: text = value * scale + base
  uint32_t base;
  const std::string_view* words;
  size_t word_count;
  std::string_view help;
};

inline constexpr std::string_view kStackSizeWords[] = {"2K", "4K", "8K", "16K", "32K", "64K", "128K", "256K"};
inline constexpr std::string_view kPresetWords[] = {"seed", "go1.19"};
inline constexpr std::string_view kOrdersWords[] = {"orders=3", "orders=4"};
inline constexpr std::string_view kLocksWords[] = {"locks=one", "locks=each"};
inline constexpr std::string_view kMarkingWords[] = {"stopped", "concurrent"};
inline constexpr std::string_view kProcsWords[] = {"procs=1", "procs=2", "procs=3", "procs=4"};
inline constexpr std::string_view kArenaWords[] = {"arena=1M", "arena=2M", "arena=4M", "arena=8M"};
inline constexpr std::string_view kHoldWords[] = {"hold=whole", "hold=batch64", "hold=each", "hold=batch2"};
inline constexpr std::string_view kWaitWords[] = {"recv", "select", "send", "sleep"};
inline constexpr std::string_view kRecordsWords[] = {"panic", "defer", "context", "both"};
inline constexpr std::string_view kRootWords[] = {"elem",    "selectdone", "panic",   "defer",
                                                  "context", "record5",    "record6", "record7"};
inline constexpr std::string_view kZeroedWords[] = {"dirty", "zeroed"};
inline constexpr std::string_view kStatusWords[] = {"run", "syscall", "park", "unpark"};
// `at` can name the first yield points only; it had no room for more.
inline constexpr size_t kAtPoints = 15;
inline constexpr auto kPointWords = [] {
  std::array<std::string_view, 16> words{};
  for (size_t i = 0; i < words.size(); ++i) words[i] = i < kAtPoints ? kYieldPoints[i].name : "point15";
  return words;
}();
// `inside` names every yield point; what is not yet one has a word too, so that all bytes have a text.
inline constexpr size_t kAnyPoints = 32;
inline constexpr auto kSparePointNames = [] {
  std::array<std::array<char, 7>, kAnyPoints> names{};
  for (size_t i = 0; i < names.size(); ++i) {
    names[i] = {'p', 'o', 'i', 'n', 't', static_cast<char>('0' + i / 10), static_cast<char>('0' + i % 10)};
  }
  return names;
}();
inline constexpr auto kAnyPointWords = [] {
  std::array<std::string_view, kAnyPoints> words{};
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = i < kYieldPoints.size() ? kYieldPoints[i].name
                                       : std::string_view(kSparePointNames[i].data(), kSparePointNames[i].size());
  }
  return words;
}();
static_assert(kYieldPoints.size() <= kAnyPoints);

const FieldKindRow& field_row(FieldKind kind);

struct Field {
  FieldKind kind = FieldKind::kNone;
  int bits = 0;
};
inline constexpr size_t kMaxFields = 7;

// What an operation does to the pool by itself.
enum class PoolUse : uint8_t {
  kCalls,   // it calls it
  kNone,    // nothing: what it leaves behind is checked where it is done
  kNoLock,  // nothing, and it takes no lock: it may run where one is held
};

// The one table of operations: enumerator, what it does to the pool, name, help, fields (10 bits in all).
#define SD_F(kind, bits)  \
  Field {                 \
    FieldKind::kind, bits \
  }
#define STACKDRAIN_OPERATIONS(X)                                                                                      \
  X(kNop, kNoLock, "nop", "nothing", SD_F(kSpare, 10))                                                                \
  X(kWorld, kNone, "world", "the world's configuration; counts only as the first operation", SD_F(kPreset, 1),        \
    SD_F(kOrders, 1), SD_F(kLocks, 1), SD_F(kMarking, 1), SD_F(kProcs, 2), SD_F(kArena, 2), SD_F(kHold, 2))           \
  X(kSpawn, kCalls, "spawn", "a new goroutine on a stack of that size", SD_F(kGoroutine, 4), SD_F(kStackSize, 3),     \
    SD_F(kSpare, 3))                                                                                                  \
  X(kExit, kCalls, "exit", "the goroutine dies", SD_F(kGoroutine, 4), SD_F(kSpare, 6))                                \
  X(kCall, kCalls, "call", "a function with a frame of that many bytes; grows the stack when it does not fit",        \
    SD_F(kGoroutine, 4), SD_F(kFrame, 6))                                                                             \
  X(kReturn, kNone, "return", "that many functions return", SD_F(kGoroutine, 4), SD_F(kCount, 6))                     \
  X(kGrow, kCalls, "grow", "doubles the stack", SD_F(kGoroutine, 4), SD_F(kSpare, 6))                                 \
  X(kShrink, kCalls, "shrink", "the marker runs the goroutine's root job: shrink, then scan", SD_F(kMarker, 2),       \
    SD_F(kGoroutine, 4), SD_F(kSpare, 4))                                                                             \
  X(kBlock, kNone, "block", "waits on a channel (recv, send: elem; select: and selectdone) or sleeps",                \
    SD_F(kGoroutine, 4), SD_F(kWait, 2), SD_F(kSpare, 4))                                                             \
  X(kWake, kNone, "wake", "the goroutine runs again", SD_F(kGoroutine, 4), SD_F(kSpare, 6))                           \
  X(kSend, kNone, "send", "somebody writes a value through elem into the waiting goroutine's stack and wakes it",     \
    SD_F(kGoroutine, 4), SD_F(kNumber, 6))                                                                            \
  X(kPush, kNone, "push", "a panic's, defer's or saved context's record that points into the stack",                  \
    SD_F(kGoroutine, 4), SD_F(kRecords, 2), SD_F(kSpare, 4))                                                          \
  X(kPop, kNone, "pop", "that record goes", SD_F(kGoroutine, 4), SD_F(kRecords, 2), SD_F(kSpare, 4))                  \
  X(kHeapAlloc, kCalls, "heap-alloc", "a span of that many pages for heap objects", SD_F(kHeapSlot, 4),               \
    SD_F(kCount, 4), SD_F(kZeroed, 1), SD_F(kSpare, 1))                                                               \
  X(kHeapFree, kCalls, "heap-free", "that span is freed", SD_F(kHeapSlot, 4), SD_F(kSpare, 6))                        \
  X(kSetProc, kNone, "proc", "mutators' operations now run on that processor", SD_F(kProc, 2), SD_F(kSpare, 8))       \
  X(kFlush, kCalls, "flush", "the processor goes away: its cache is flushed", SD_F(kProc, 2), SD_F(kSpare, 8))        \
  X(kGcBegin, kCalls, "gc-begin", "the world stops, that many markers begin", SD_F(kCount, 2), SD_F(kSpare, 8))       \
  X(kGcMark, kCalls, "gc-mark", "the marker runs its next root jobs", SD_F(kMarker, 2), SD_F(kCount, 4),              \
    SD_F(kSpare, 4))                                                                                                  \
  X(kLoad, kNoLock, "load", "LOAD: the marker reads the pointer in a goroutine's record", SD_F(kMarker, 2),           \
    SD_F(kGoroutine, 4), SD_F(kRoot, 3), SD_F(kSpare, 1))                                                             \
  X(kResolve, kNoLock, "resolve", "RESOLVE: the marker judges the pointer it holds", SD_F(kMarker, 2),                \
    SD_F(kSpare, 8))                                                                                                  \
  X(kGcEnd, kCalls, "gc-end", "all jobs and pointers left, mark done, the pause's drain", SD_F(kSpare, 10))           \
  X(kRestart, kCalls, "restart", "the mutators run again", SD_F(kSpare, 10))                                          \
  X(kDrain, kCalls, "drain", "one step of deferred work (0: as the world says)", SD_F(kNumber, 6), SD_F(kSpare, 4))   \
  X(kAt, kNone, "at", "the operations after the next one run inside it, at its yield point", SD_F(kPoint, 4),         \
    SD_F(kCount, 2), SD_F(kSpare, 4))                                                                                 \
  X(kStatus, kNone, "status", "enters or leaves a system call, or the moment before waiting", SD_F(kGoroutine, 4),    \
    SD_F(kStatus, 2), SD_F(kSpare, 4))                                                                                \
  X(kRelease, kCalls, "release", "the page heap gives its idle memory back to the system", SD_F(kSpare, 10))          \
  X(kQuiesce, kCalls, "quiesce", "finishes the cycle and the drain; what must hold at rest is checked",               \
    SD_F(kSpare, 10))                                                                                                 \
  X(kInside, kNone, "inside", "as `at`, at any yield point; where a lock is held there, only what takes none runs",   \
    SD_F(kAnyPoint, 5), SD_F(kCount, 2), SD_F(kSpare, 3))                                                             \
  X(kLook, kNoLock, "look", "somebody reads the state of every page's span, without a lock", SD_F(kSpare, 10))        \
  X(kHelp, kCalls, "help", "in gc-end: a marker that is done takes part in the drain of the pause", SD_F(kMarker, 2), \
    SD_F(kSpare, 8))                                                                                                  \
  X(kRefuse, kNoLock, "refuse", "a fault: the arena is refused more memory, the next that many times",                \
    SD_F(kCount, 6), SD_F(kSpare, 4))                                                                                 \
  X(kDie, kNoLock, "die", "a fault: the processor's thread is gone, and what lay in its cache stays there",           \
    SD_F(kProc, 2), SD_F(kSpare, 8))                                                                                  \
  X(kAdopt, kCalls, "adopt", "somebody takes over a processor whose thread is gone: empties its cache",               \
    SD_F(kProc, 2), SD_F(kSpare, 8))

enum class Op : uint8_t {
#define X(id, use, name, help, ...) id,
  STACKDRAIN_OPERATIONS(X)
#undef X
};

struct OperationRow {
  std::string_view name;
  std::string_view help;
  PoolUse pool_use;
  std::array<Field, kMaxFields> fields;

  constexpr int bits() const {
    int sum = 0;
    for (const Field& field : fields) sum += field.bits;
    return sum;
  }
};

inline constexpr std::array kOperations = {
#define X(id, use, name, help, ...) OperationRow{name, help, PoolUse::use, {__VA_ARGS__}},
    STACKDRAIN_OPERATIONS(X)
#undef X
};
#undef SD_F

static_assert(kOperations.size() <= kCodes);
static_assert(
    [] {
      for (const OperationRow& row : kOperations) {
        if (row.bits() != kArgumentBits) return false;
      }
      return true;
    }(),
    "every operation's fields cover exactly the ten argument bits");

// The table as it is looked up for each operation of a run, by its code; a reserved one is a nop.
struct FieldPlaces {
  std::array<uint8_t, kMaxFields> shift{};
  std::array<uint16_t, kMaxFields> mask{};
  uint8_t goroutine = kMaxFields;  // which field names one; kMaxFields: none
};
inline constexpr auto kFieldPlaces = [] {
  std::array<FieldPlaces, kCodes> places{};
  for (size_t code = 0; code < kCodes; ++code) {
    const OperationRow& row = kOperations[code < kOperations.size() ? code : 0];
    int shift = 0;
    for (size_t i = 0; i < kMaxFields; ++i) {
      places[code].shift[i] = static_cast<uint8_t>(shift);
      places[code].mask[i] = static_cast<uint16_t>((1u << row.fields[i].bits) - 1);
      shift += row.fields[i].bits;
      if (row.fields[i].kind == FieldKind::kGoroutine && places[code].goroutine == kMaxFields) {
        places[code].goroutine = static_cast<uint8_t>(i);
      }
    }
  }
  return places;
}();

constexpr PoolUse pool_use(Op op) {
  return kOperations[static_cast<size_t>(op)].pool_use;
}

// One decoded operation.
struct Operation {
  uint8_t code = 0;
  uint16_t bits = 0;

  constexpr bool reserved() const { return code >= kOperations.size(); }
  constexpr Op op() const { return reserved() ? Op::kNop : static_cast<Op>(code); }
  // The raw value of field `index`.
  constexpr uint32_t arg(size_t index) const {
    const FieldPlaces& places = kFieldPlaces[code];
    return static_cast<uint32_t>(bits) >> places.shift[index] & places.mask[index];
  }
  // The goroutine it names, if it names one.
  constexpr std::optional<uint32_t> goroutine() const {
    const size_t field = kFieldPlaces[code].goroutine;
    if (field == kMaxFields) return std::nullopt;
    return arg(field);
  }
};

constexpr Operation decode_operation(uint16_t word) {
  return {static_cast<uint8_t>(word & (kCodes - 1)), static_cast<uint16_t>(word >> kCodeBits)};
}
constexpr uint16_t encode_operation(Operation operation) {
  return static_cast<uint16_t>(operation.code | operation.bits << kCodeBits);
}

// A program in place: no copy, no allocation.
class ProgramView {
 public:
  constexpr ProgramView(const uint8_t* data, size_t bytes) : data_(data), bytes_(bytes) {}
  constexpr size_t size() const { return bytes_ / kBytesPerOperation; }
  constexpr bool has_odd_byte() const { return bytes_ % kBytesPerOperation != 0; }
  constexpr uint8_t odd_byte() const { return data_[bytes_ - 1]; }
  constexpr Operation operator[](size_t index) const {
    const uint8_t* at = data_ + index * kBytesPerOperation;
    return decode_operation(static_cast<uint16_t>(at[0] | at[1] << 8));
  }
  constexpr const uint8_t* data() const { return data_; }
  constexpr size_t bytes() const { return bytes_; }

 private:
  const uint8_t* data_;
  size_t bytes_;
};

// What raw argument values mean.
constexpr size_t frame_bytes_of(uint32_t value) {
  return (value + 1) * kFrameUnit;
}
constexpr size_t stack_bytes_of(uint32_t value) {
  return kMinStackBytes << value;
}
// The world that a kWorld operation asks for; `concurrent` is set from it too.
PoolParams world_params(Operation world, bool& concurrent);
// The world of a program that does not say: seed preset, stopped, one processor, 1 MiB.
PoolParams default_world(bool& concurrent);

// The operation as text into `buffer`, always terminated; the characters written. Allocates nothing.
size_t format_operation(Operation operation, char* buffer, size_t capacity);
inline constexpr size_t kMaxOperationText = 128;
std::string to_text(ProgramView program);

struct ParseError {
  size_t line = 0;  // from 1
  std::string message;
};
// Appends the encoded program to `bytes`; on error what was read before it is in `bytes`.
std::optional<ParseError> parse_text(std::string_view text, std::vector<uint8_t>& bytes);

// A table of all operations with their arguments, for people.
std::string operations_help();
// An operation and its arguments as text: `shrink <marker> <goroutine>`.
std::string operation_form(const OperationRow& row);
// A dictionary for libFuzzer and AFL++: each operation's word with typical arguments.
std::string dictionary();
// The nearest of the names by edit distance, or empty when none is near.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& names);

}  // namespace stackdrain
