#include "fuzz/signature.h"

#include <cstdio>
#include <cstring>
#include <span>

namespace stackdrain {
namespace {

// What a message can be about, the most telling kind first: the first kind of which a word occurs decides.
constexpr std::string_view kWords[] = {"canary", "pattern", "link", "slot", "value", "size"};
constexpr std::string_view kWhole[] = {"canary", "base pointer", "free list", "lock", "limit", "reserve"};
constexpr std::string_view kPlaces[] = {"live", "cached", "pool-free", "deferred", "shelved"};
constexpr std::string_view kParts[] = {"cache", "caches", "drain", "accounts", "heap",
                                       "large", "span",   "stack", "slot"};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

// As a word of its own.
bool occurs(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_letter(text[at - 1])) && (end == text.size() || !is_letter(text[end]))) return true;
  }
  return false;
}

// The words that occur, at most two, joined by '+'.
std::string_view join(std::string_view text, std::span<const std::string_view> words, std::array<char, 32>& buffer) {
  size_t size = 0;
  int count = 0;
  for (const std::string_view word : words) {
    if (count == 2 || !occurs(text, word)) continue;
    size += static_cast<size_t>(std::snprintf(buffer.data() + size, buffer.size() - size, "%s%.*s",
                                              size == 0 ? "" : "+", static_cast<int>(word.size()), word.data()));
    ++count;
  }
  for (char& c : buffer) c = c == ' ' ? '-' : c;
  return {buffer.data(), size};
}

Signature made(std::string_view id, std::string_view site, std::string_view topic) {
  Signature signature{};
  std::snprintf(signature.data(), signature.size(), "%.*s@%.*s%s%.*s", static_cast<int>(id.size()), id.data(),
                static_cast<int>(site.size()), site.data(), topic.empty() ? "" : "/", static_cast<int>(topic.size()),
                topic.data());
  return signature;
}

Signature made(const Violation& violation, Op site) {
  std::array<char, 32> buffer{};
  return made(id_of(violation.invariant), kOperations[static_cast<size_t>(site)].name,
              topic_of(violation.message.data(), buffer));
}

}  // namespace

std::string_view topic_of(std::string_view message, std::array<char, 32>& buffer) {
  // "g1, frame 0: WORD at +0x…"
  const size_t frame = message.find(", frame ");
  const size_t colon = frame == std::string_view::npos ? frame : message.find(": ", frame);
  if (colon != std::string_view::npos) {
    const std::string_view rest = message.substr(colon + 2, message.find(" at ", colon) - colon - 2);
    if (const std::string_view topic = join(rest, kWords, buffer); !topic.empty()) return topic;
  }
  using Words = std::span<const std::string_view>;
  for (const Words kind : {Words(kRootNames), Words(kWhole), Words(kPlaces), Words(kParts)}) {
    if (const std::string_view topic = join(message, kind, buffer); !topic.empty()) return topic;
  }
  return {};
}

Signature signature_of(const Verdict& verdict) {
  return made(verdict.violation, verdict.site);
}

Signature signature_of(ProgramView program, const Difference& difference, const Verdict& verdict) {
  if (difference.by_itself) return signature_of(verdict);
  if (difference.index >= program.size()) return made(id_of(Invariant::kG2), "end", "state");
  const Operation operation = program[difference.index];
  return made(id_of(Invariant::kG2), kOperations[static_cast<size_t>(operation.op())].name, "answer");
}

Signature signature_of_stop(Op site, const Violation* seen) {
  if (seen != nullptr) return made(*seen, site);
  return made("stop", kOperations[static_cast<size_t>(site)].name, "");
}

}  // namespace stackdrain
