#include "fuzz/program.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace stackdrain {
namespace {

template <size_t N>
constexpr FieldKindRow words_row(const std::string_view (&words)[N], std::string_view help) {
  return {'w', 0, 0, words, N, help};
}

// The one table of field kinds, in the order of FieldKind.
constexpr FieldKindRow kFieldKinds[] = {
    {' ', 0, 0, nullptr, 0, ""},
    {'~', 1, 0, nullptr, 0, "~N: unused bits, kept; left out when zero"},
    {'g', 1, 0, nullptr, 0, "g0..g15"},
    {'m', 1, 0, nullptr, 0, "m0..m3"},
    {'p', 1, 0, nullptr, 0, "p0..p3"},
    {'h', 1, 0, nullptr, 0, "h0..h15"},
    {'n', 1, 1, nullptr, 0, "a count from 1"},
    {'n', 1, 0, nullptr, 0, "a number from 0"},
    {'n', kFrameUnit, kFrameUnit, nullptr, 0, "bytes: 128..8192 in steps of 128"},
    words_row(kStackSizeWords, "2K..256K"),
    words_row(kPresetWords, "seed or go1.19"),
    words_row(kOrdersWords, "orders=3 or orders=4"),
    words_row(kLocksWords, "locks=one or locks=each"),
    words_row(kMarkingWords, "stopped or concurrent"),
    words_row(kProcsWords, "procs=1..procs=4"),
    words_row(kArenaWords, "arena=1M..arena=8M"),
    words_row(kHoldWords, "hold=whole, batch64, each or batch2"),
    words_row(kWaitWords, "recv, select, send or sleep"),
    words_row(kRecordsWords, "panic, defer, context or both (panic and defer)"),
    words_row(kRootWords, "elem, selectdone, panic, defer or context"),
    words_row(kZeroedWords, "dirty or zeroed"),
    {'w', 0, 0, kPointWords.data(), kPointWords.size(), "a yield point"},
    words_row(kStatusWords, "run, syscall, park or unpark"),
    {'w', 0, 0, kAnyPointWords.data(), kAnyPointWords.size(), "a yield point"},
};
static_assert(std::size(kFieldKinds) == static_cast<size_t>(FieldKind::kAnyPoint) + 1);

// Writes into a fixed buffer and never beyond it.
class Writer {
 public:
  Writer(char* buffer, size_t capacity) : buffer_(buffer), capacity_(capacity) { buffer_[0] = 0; }
  void text(std::string_view part) {
    for (const char c : part) {
      if (size_ + 1 < capacity_) buffer_[size_++] = c;
    }
    buffer_[size_] = 0;
  }
  void number(uint64_t value) {
    char digits[20];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    text({digits, static_cast<size_t>(end - digits)});
  }
  size_t size() const { return size_; }

 private:
  char* buffer_;
  size_t capacity_;
  size_t size_ = 0;
};

void format_field(Writer& out, FieldKind kind, uint32_t value) {
  const FieldKindRow& row = field_row(kind);
  if (row.letter == '~' && value == 0) return;
  out.text(" ");
  if (row.letter == 'w') {
    out.text(row.words[value]);
    return;
  }
  if (row.letter != 'n') out.text({&row.letter, 1});
  out.number(uint64_t{value} * row.scale + row.base);
}

std::optional<uint64_t> to_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// The field's raw value, or nothing if the text does not say one.
std::optional<uint32_t> parse_field(Field field, std::string_view text) {
  const FieldKindRow& row = field_row(field.kind);
  if (row.letter == 'w') {
    for (size_t i = 0; i < row.word_count; ++i) {
      if (row.words[i] == text) return static_cast<uint32_t>(i);
    }
    return std::nullopt;
  }
  if (row.letter != 'n') {
    if (text.empty() || text[0] != row.letter) return std::nullopt;
    text.remove_prefix(1);
  }
  const std::optional<uint64_t> number = to_number(text);
  if (!number || *number < row.base || (*number - row.base) % row.scale != 0) return std::nullopt;
  const uint64_t value = (*number - row.base) / row.scale;
  if (value >> field.bits != 0) return std::nullopt;
  return static_cast<uint32_t>(value);
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> words;
  if (const size_t comment = line.find('#'); comment != std::string_view::npos) line = line.substr(0, comment);
  constexpr std::string_view kBlank = " \t\r";
  for (size_t at = line.find_first_not_of(kBlank); at != std::string_view::npos;
       at = line.find_first_not_of(kBlank, at)) {
    const size_t end = std::min(line.find_first_of(kBlank, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

const OperationRow* find_operation(std::string_view name, uint8_t& code) {
  for (size_t i = 0; i < kOperations.size(); ++i) {
    if (kOperations[i].name == name) {
      code = static_cast<uint8_t>(i);
      return &kOperations[i];
    }
  }
  return nullptr;
}

std::string unknown_operation(std::string_view word) {
  std::vector<std::string_view> names;
  names.reserve(kOperations.size());
  for (const OperationRow& row : kOperations) names.push_back(row.name);
  std::string message = "unknown operation '" + std::string(word) + "'";
  if (const std::string_view near = nearest(word, names); !near.empty()) {
    return message + " (did you mean '" + std::string(near) + "'?)";
  }
  return message + "; see: stackdrain list operations";
}

std::string wrong_argument(const OperationRow& row, size_t index, Field field, std::string_view got) {
  return std::string(row.name) + " wants " + std::string(field_row(field.kind).help) + " as argument " +
         std::to_string(index + 1) + (got.empty() ? ", and it is missing" : ", not '" + std::string(got) + "'");
}

// The argument bits of one line; a message on error.
std::optional<std::string> parse_arguments(const OperationRow& row, const std::vector<std::string_view>& words,
                                           uint16_t& bits) {
  int shift = 0;
  size_t next = 1;
  for (size_t i = 0; i < row.fields.size(); ++i) {
    const Field field = row.fields[i];
    if (field.bits == 0) break;
    const bool spare = field.kind == FieldKind::kSpare;
    if (spare && next >= words.size()) break;
    const std::string_view word = next < words.size() ? words[next] : std::string_view();
    const std::optional<uint32_t> value = parse_field(field, word);
    if (!value) return wrong_argument(row, i, field, word);
    bits = static_cast<uint16_t>(bits | *value << shift);
    shift += field.bits;
    ++next;
  }
  if (next < words.size()) {
    return std::string(row.name) + " takes no further argument '" + std::string(words[next]) + "'";
  }
  return std::nullopt;
}

std::optional<std::string> parse_reserved(const std::vector<std::string_view>& words, Operation& operation) {
  const std::optional<uint64_t> code = words.size() == 3 ? to_number(words[1]) : std::nullopt;
  const std::optional<uint64_t> bits = words.size() == 3 ? to_number(words[2]) : std::nullopt;
  if (!code || !bits || *code < kOperations.size() || *code >= kCodes || *bits >> kArgumentBits != 0) {
    return "reserved wants a code from " + std::to_string(kOperations.size()) + " to 63 and bits from 0 to 1023";
  }
  operation = {static_cast<uint8_t>(*code), static_cast<uint16_t>(*bits)};
  return std::nullopt;
}

std::optional<std::string> parse_line(const std::vector<std::string_view>& words, Operation& operation) {
  if (words[0] == "reserved") return parse_reserved(words, operation);
  operation = {};
  const OperationRow* row = find_operation(words[0], operation.code);
  if (row == nullptr) return unknown_operation(words[0]);
  return parse_arguments(*row, words, operation.bits);
}

}  // namespace

const FieldKindRow& field_row(FieldKind kind) {
  return kFieldKinds[static_cast<size_t>(kind)];
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& names) {
  std::string_view best;
  size_t best_distance = 3;  // further off is no typo
  for (const std::string_view name : names) {
    std::vector<size_t> row(name.size() + 1);
    for (size_t j = 0; j <= name.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= name.size(); ++j) {
        const size_t change = diagonal + (word[i - 1] == name[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row[name.size()] < best_distance) {
      best_distance = row[name.size()];
      best = name;
    }
  }
  return best;
}

size_t format_operation(Operation operation, char* buffer, size_t capacity) {
  Writer out(buffer, capacity);
  if (operation.reserved()) {
    out.text("reserved ");
    out.number(operation.code);
    out.text(" ");
    out.number(operation.bits);
    return out.size();
  }
  const OperationRow& row = kOperations[operation.code];
  out.text(row.name);
  for (size_t i = 0; i < row.fields.size() && row.fields[i].bits != 0; ++i) {
    format_field(out, row.fields[i].kind, operation.arg(i));
  }
  return out.size();
}

std::string to_text(ProgramView program) {
  std::string text;
  char line[kMaxOperationText];
  for (size_t i = 0; i < program.size(); ++i) {
    text.append(line, format_operation(program[i], line, sizeof line));
    text += '\n';
  }
  if (program.has_odd_byte()) {
    std::snprintf(line, sizeof line, "byte 0x%02x\n", program.odd_byte());
    text += line;
  }
  return text;
}

std::optional<ParseError> parse_text(std::string_view text, std::vector<uint8_t>& bytes) {
  bool odd = false;
  size_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    const std::vector<std::string_view> words = split(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (words.empty()) continue;
    if (odd) return ParseError{number, "nothing may follow a single byte"};
    if (words[0] == "byte") {
      unsigned value = 256;
      if (words.size() == 2 && words[1].starts_with("0x")) {
        std::from_chars(words[1].data() + 2, words[1].data() + words[1].size(), value, 16);
      }
      if (value > 255) return ParseError{number, "byte wants 0x00..0xff"};
      bytes.push_back(static_cast<uint8_t>(value));
      odd = true;
      continue;
    }
    Operation operation;
    if (std::optional<std::string> message = parse_line(words, operation)) return ParseError{number, *message};
    const uint16_t word = encode_operation(operation);
    bytes.push_back(static_cast<uint8_t>(word & 0xff));
    bytes.push_back(static_cast<uint8_t>(word >> 8));
  }
  return std::nullopt;
}

// not reached by seeds: prints the table, reads no text
std::string operation_form(const OperationRow& row) {
  std::string form(row.name);
  for (const Field& field : row.fields) {
    if (field.bits != 0 && field.kind != FieldKind::kSpare) {
      form += " <" + std::string(field_row(field.kind).help) + ">";
    }
  }
  return form;
}

// not reached by seeds: prints the table, reads no text
std::string operations_help() {
  std::string text;
  for (size_t code = 0; code < kOperations.size(); ++code) {
    const OperationRow& row = kOperations[code];
    text += std::to_string(code) + "\t" + operation_form(row) + "\n\t    " + std::string(row.help) + "\n";
  }
  return text;
}

// not reached by seeds: prints the table, reads no text
std::string dictionary() {
  std::string text;
  char line[64];
  for (size_t code = 0; code < kOperations.size(); ++code) {
    for (const uint16_t bits : {uint16_t{0}, uint16_t{0x51}, uint16_t{0x3ff}}) {
      const uint16_t word = encode_operation({static_cast<uint8_t>(code), bits});
      std::snprintf(line, sizeof line, "%s_%u=\"\\x%02x\\x%02x\"\n", std::string(kOperations[code].name).c_str(), bits,
                    word & 0xff, word >> 8);
      text += line;
    }
  }
  return text;
}

// not reached by seeds: what a world means is the machine's matter
PoolParams world_params(Operation world, bool& concurrent) {
  PoolParams params = kPresets[world.arg(0)].make();
  params.orders = 3 + static_cast<int>(world.arg(1));
  params.locks = world.arg(2) == 0 ? LockPlan::kOneLock : LockPlan::kPerOrder;
  concurrent = world.arg(3) != 0;
  params.procs = 1 + static_cast<int>(world.arg(4));
  params.arena_pages = (uint32_t{1} << 20 >> kPageShift) << world.arg(5);
  constexpr DrainHold kHolds[] = {DrainHold::kWhole, DrainHold::kBatch, DrainHold::kEach, DrainHold::kBatch};
  params.drain_hold = kHolds[world.arg(6)];
  params.drain_batch = world.arg(6) == 3 ? 2 : 64;
  // Small worlds: little is mapped at a time, so that a reset and a walk stay cheap.
  params.grow_chunk_bytes = size_t{128} << 10;
  params.least_share_bytes = size_t{128} << 10;
  params.first_chunks = 4;
  params.max_stack_bytes = size_t{512} << 10;
  return params;
}

// not reached by seeds: what a world means is the machine's matter
PoolParams default_world(bool& concurrent) {
  return world_params({static_cast<uint8_t>(Op::kWorld), 0}, concurrent);
}

}  // namespace stackdrain
