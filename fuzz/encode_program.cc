// encode_program: text program to bytes, or the fuzzing dictionary; for builds that have nothing but the standard
// library.
//
//   encode_program PROGRAM.ops BYTES        encode_program --dictionary FILE
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/program.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "encode_program: wants PROGRAM.ops BYTES, or --dictionary FILE\n");
    return 2;
  }
  std::string content;
  if (std::string_view(argv[1]) == "--dictionary") {
    content = stackdrain::dictionary();
  } else {
    std::ifstream file(argv[1], std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    std::vector<uint8_t> bytes;
    const auto error = stackdrain::parse_text(text, bytes);
    if (!file || error) {
      std::fprintf(stderr, "encode_program: %s:%zu: %s\n", argv[1], error ? error->line : 0,
                   error ? error->message.c_str() : "cannot be read; check the name");
      return 2;
    }
    content.assign(bytes.begin(), bytes.end());
  }
  std::ofstream out(argv[2], std::ios::binary);
  out << content;
  out.close();
  if (out) return 0;
  std::fprintf(stderr, "encode_program: %s: cannot be written; choose another name\n", argv[2]);
  return 2;
}
