// ops_text_fuzzer: the parser of text programs on hostile text, and the codecs' exact round trips.
//
// A text that parses to bytes must, printed and parsed again, give the same bytes; and the input itself, taken for
// bytes, must survive being printed and parsed. An error names a line of the text and says something. Text is bounded
// here, whatever the engine's limit: time and memory are linear in it.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/program.h"

namespace stackdrain {
namespace {

constexpr size_t kMaxText = size_t{16} << 10;

[[noreturn]] void fail(const char* what, const std::string& text) {
  std::fprintf(stderr, "ops_text_fuzzer: %s:\n%s\n", what, text.c_str());
  std::abort();
}

// Printed and parsed, bytes are the same bytes.
void round_trip(const std::vector<uint8_t>& bytes) {
  const std::string text = to_text({bytes.data(), bytes.size()});
  std::vector<uint8_t> again;
  if (const auto error = parse_text(text, again)) fail(error->message.c_str(), text);
  if (again != bytes) fail("text and back is not the same program", text);
}

void check_error(const ParseError& error, std::string_view text) {
  const auto lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  if (error.line < 1 || error.line > lines) fail("an error names a line that is not there", error.message);
  if (error.message.empty() || error.message.find('\n') != std::string::npos) {
    fail("an error is not one line", error.message);
  }
}

}  // namespace
}  // namespace stackdrain

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stackdrain;
  const std::string_view text(reinterpret_cast<const char*>(data), std::min(size, kMaxText));
  std::vector<uint8_t> bytes;
  if (const auto error = parse_text(text, bytes)) {
    check_error(*error, text);
  } else {
    round_trip(bytes);
  }
  round_trip({data, data + text.size()});
  return 0;
}
