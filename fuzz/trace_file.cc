// Reading trace files, plain or compressed; apart from the parser, because no fuzzer links zstd.
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fuzz/trace.h"

namespace stackdrain {
namespace {

std::string decompress(const std::string& packed, const std::string& path) {
  std::string text;
  std::string chunk(ZSTD_DStreamOutSize(), 0);
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  size_t left = 1;
  std::string problem;
  while (in.pos < in.size && problem.empty()) {
    ZSTD_outBuffer out{chunk.data(), chunk.size(), 0};
    left = ZSTD_decompressStream(context, &out, &in);
    if (ZSTD_isError(left) != 0) problem = ZSTD_getErrorName(left);
    text.append(chunk.data(), out.pos);
  }
  ZSTD_freeDCtx(context);
  if (problem.empty() && left != 0) problem = "the file is cut off";
  if (!problem.empty()) throw TraceError(path + ": is no whole zstd file: " + problem + "; get the file again");
  return text;
}

}  // namespace

Trace read_trace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (file && !std::filesystem::is_directory(path)) content << file.rdbuf();
  if (!file || content.str().empty()) {
    throw TraceError(path + ": cannot be read: " + (errno != 0 ? std::strerror(errno) : "it is empty") +
                     "; check the name and its permissions");
  }
  return parse_trace(path.ends_with(".zst") ? decompress(content.str(), path) : content.str(), path);
}

}  // namespace stackdrain
