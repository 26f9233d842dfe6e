// encode_program: text program to bytes, or the fuzzing dictionary; for builds that have nothing but the standard
// library.
//
//   encode_program PROGRAM.ops BYTES        encode_program --dictionary FILE
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/program.h"

namespace {

// C's files: those of the C++ library are compiled code, which no build here instruments for MemorySanitizer.
bool read(const char* path, std::string& content) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return false;
  char buffer[4096];
  while (std::feof(file) == 0 && std::ferror(file) == 0)
    content.append(buffer, std::fread(buffer, 1, sizeof buffer, file));
  const bool whole = std::ferror(file) == 0;
  return std::fclose(file) == 0 && whole;
}

bool write(const char* path, const std::string& content) {
  std::FILE* file = std::fopen(path, "wb");
  if (file == nullptr) return false;
  const bool whole = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  return std::fclose(file) == 0 && whole;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "encode_program: wants PROGRAM.ops BYTES, or --dictionary FILE\n");
    return 2;
  }
  std::string content;
  if (std::string_view(argv[1]) == "--dictionary") {
    content = stackdrain::dictionary();
  } else {
    std::string text;
    const bool whole = read(argv[1], text);
    std::vector<uint8_t> bytes;
    const auto error = stackdrain::parse_text(text, bytes);
    if (!whole || error) {
      std::fprintf(stderr, "encode_program: %s:%zu: %s\n", argv[1], error ? error->line : 0,
                   error ? error->message.c_str() : "cannot be read; check the name");
      return 2;
    }
    content.assign(bytes.begin(), bytes.end());
  }
  if (write(argv[2], content)) return 0;
  std::fprintf(stderr, "encode_program: %s: cannot be written; choose another name\n", argv[2]);
  return 2;
}
