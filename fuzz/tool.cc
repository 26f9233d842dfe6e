#include "fuzz/tool.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fuzz/program.h"
#include "target/defects.h"

namespace stackdrain {
namespace {

std::string unknown(std::string_view kind, std::string_view name, const std::vector<std::string_view>& names) {
  std::string message = "unknown " + std::string(kind) + " '" + std::string(name) + "'";
  if (const std::string_view near = nearest(name, names); !near.empty()) {
    return message + " (did you mean '" + std::string(near) + "'?)";
  }
  message += "; there are:";
  for (const std::string_view known : names) message += " " + std::string(known);
  return message;
}

}  // namespace

int end_output(int code) {
  const bool flushed = std::fflush(stdout) == 0;
  const char* why = flushed ? "a part of it is lost" : std::strerror(errno);
  if (flushed && std::ferror(stdout) == 0) return code;
  if (code != 2) {
    std::fprintf(stderr, "stackdrain: standard output: cannot be written: %s; send it where there is room\n", why);
  }
  return 2;
}

std::string json_string(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) >= ' ') {
      json += c;
      continue;
    }
    std::array<char, 8> code;
    std::snprintf(code.data(), code.size(), "\\u%04x", static_cast<unsigned>(c));
    json += code.data();
  }
  return json + "\"";
}

std::vector<uint8_t> read_program(const std::string& path) {
  const std::string content = read_file(path);
  std::vector<uint8_t> bytes;
  if (!path.ends_with(".ops")) return {content.begin(), content.end()};
  if (const auto error = parse_text(content, bytes)) {
    throw InputError(path + ":" + std::to_string(error->line) + ": " + error->message);
  }
  return bytes;
}

std::vector<const PolicyRow*> choose_policies(std::string_view name) {
  std::vector<const PolicyRow*> rows;
  std::vector<std::string_view> names = {"all", "sound", "span-records"};
  for (const PolicyRow& row : policies()) {
    names.push_back(row.name);
    const bool chosen = name == row.name || name == "all" || (name == "sound" && row.claims.sound) ||
                        (name == "span-records" && row.claims.span_records);
    if (chosen) rows.push_back(&row);
  }
  if (rows.empty()) throw InputError(unknown("policy", name, names));
  return rows;
}

void plant_defect(std::string_view name) {
  if (name.empty()) return;
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kDefects.size(); ++i) {
    names.push_back(kDefects[i].name);
    if (kDefects[i].name != name) continue;
#if STACKDRAIN_DEFECTS
    planted_defect = static_cast<Defect>(i);
    return;
#else
    throw InputError("this build has no planted defects; configure with -DSTACKDRAIN_DEFECTS=ON");
#endif
  }
  throw InputError(unknown("defect", name, names));
}

}  // namespace stackdrain
