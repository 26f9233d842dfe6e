#include "fuzz/tool.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

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

std::string read_file(const std::string& path) {
  if (std::filesystem::is_directory(path)) throw InputError(path + ": is a directory; name a file in it");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (file) content << file.rdbuf();
  if (!file)
    throw InputError(path + ": cannot be read: " + std::strerror(errno) + "; check the name and its permissions");
  return content.str();
}

void write_file(const std::string& path, std::string_view content) {
  if (path == "-") {
    std::fwrite(content.data(), 1, content.size(), stdout);
    return;
  }
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, path, error);
  if (!file || error) {
    std::filesystem::remove(temporary, error);
    throw InputError(path + ": cannot be written: " + std::strerror(errno) + "; choose another --out");
  }
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
