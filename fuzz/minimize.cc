#include "fuzz/minimize.h"

#include <algorithm>
#include <array>
#include <utility>

namespace stackdrain {
namespace {

constexpr size_t kFewOperations = 40;  // all pairs of so many are tried

using Words = std::vector<uint16_t>;

std::vector<uint8_t> bytes_of(const Words& words) {
  std::vector<uint8_t> bytes;
  bytes.reserve(words.size() * kBytesPerOperation);
  for (const uint16_t word : words) {
    bytes.push_back(static_cast<uint8_t>(word & 0xff));
    bytes.push_back(static_cast<uint8_t>(word >> 8));
  }
  return bytes;
}

bool is_name(FieldKind kind) {
  return kind == FieldKind::kGoroutine || kind == FieldKind::kMarker || kind == FieldKind::kProc ||
         kind == FieldKind::kHeapSlot;
}

// Calls what(kind, shift, mask) for each field of the operation's argument bits.
template <class What>
void for_each_field(Operation operation, What what) {
  if (operation.reserved()) return;
  int shift = 0;
  for (const Field& field : kOperations[operation.code].fields) {
    if (field.bits == 0) return;
    what(field.kind, shift, (1u << field.bits) - 1);
    shift += field.bits;
  }
}

uint16_t with_field(uint16_t word, int shift, uint32_t mask, uint32_t value) {
  Operation operation = decode_operation(word);
  operation.bits = static_cast<uint16_t>((operation.bits & ~(mask << shift)) | value << shift);
  return encode_operation(operation);
}

class Minimizer {
 public:
  Minimizer(ProgramView program, const std::function<bool(ProgramView)>& same, size_t most_tries)
      : same_(same), most_tries_(most_tries) {
    for (size_t i = 0; i < program.size(); ++i) words_.push_back(encode_operation(program[i]));
  }

  Minimized run() {
    while (fewer_operations() || lower_names() || simpler_arguments()) {
    }
    return {bytes_of(words_), tries_, complete_};
  }

 private:
  // Takes the candidate if it does the same.
  bool take(Words candidate) {
    if (tries_ == most_tries_) {
      complete_ = false;
      return false;
    }
    ++tries_;
    const std::vector<uint8_t> bytes = bytes_of(candidate);
    if (!same_({bytes.data(), bytes.size()})) return false;
    words_ = std::move(candidate);
    return true;
  }

  bool drop(size_t first, size_t count) {
    Words candidate = words_;
    candidate.erase(candidate.begin() + static_cast<ptrdiff_t>(first),
                    candidate.begin() + static_cast<ptrdiff_t>(first + count));
    return take(std::move(candidate));
  }

  // From the end, because what comes last is needed least.
  bool drop_chunks(size_t size) {
    bool dropped = false;
    for (size_t end = words_.size(); end > 0;) {
      const size_t first = end > size ? end - size : 0;
      dropped = drop(first, end - first) || dropped;
      end = first;
    }
    return dropped;
  }

  bool drop_a_pair() {
    if (words_.size() > kFewOperations) return false;
    for (size_t second = words_.size(); second-- > 0;) {
      for (size_t first = second; first-- > 0;) {
        Words candidate = words_;
        candidate.erase(candidate.begin() + static_cast<ptrdiff_t>(second));
        candidate.erase(candidate.begin() + static_cast<ptrdiff_t>(first));
        if (take(std::move(candidate))) return true;
      }
    }
    return false;
  }

  bool fewer_operations() {
    const size_t before = words_.size();
    for (size_t size = std::max<size_t>(1, words_.size() / 2); size > 0; size /= 2) {
      while (drop_chunks(size)) {
      }
    }
    while (drop_a_pair()) {
    }
    return words_.size() < before;
  }

  // `rename` says what becomes of a name of that kind.
  template <class Rename>
  Words renamed(FieldKind which, Rename rename) const {
    Words candidate = words_;
    for (uint16_t& word : candidate) {
      for_each_field(decode_operation(word), [&](FieldKind kind, int shift, uint32_t mask) {
        const uint32_t name = static_cast<uint32_t>(decode_operation(word).bits) >> shift & mask;
        if (kind == which) word = with_field(word, shift, mask, rename(name));
      });
    }
    return candidate;
  }

  // In the order in which the program names them first: m0, then m1.
  bool names_in_order(FieldKind which) {
    std::vector<uint32_t> order;
    Words candidate = renamed(which, [&](uint32_t name) {
      const auto at = std::find(order.begin(), order.end(), name);
      const auto place = static_cast<uint32_t>(at - order.begin());
      if (at == order.end()) order.push_back(name);
      return place;
    });
    return candidate != words_ && take(std::move(candidate));
  }

  // The values that a kind of names has, as bits.
  uint32_t names_of(FieldKind which) const {
    uint32_t used = 0;
    for (const uint16_t word : words_) {
      for_each_field(decode_operation(word), [&](FieldKind kind, int shift, uint32_t mask) {
        if (kind == which) used |= 1u << (static_cast<uint32_t>(decode_operation(word).bits) >> shift & mask);
      });
    }
    return used;
  }

  bool lower_names() {
    bool lowered = false;
    for (const FieldKind kind : {FieldKind::kGoroutine, FieldKind::kMarker, FieldKind::kProc, FieldKind::kHeapSlot}) {
      lowered = names_in_order(kind) || lowered;
      for (uint32_t from = 0; from < 16; ++from) {
        for (uint32_t to = 0; to < from; ++to) {
          const uint32_t used = names_of(kind);
          if ((used >> from & 1) == 0 || (used >> to & 1) != 0) continue;
          lowered = take(renamed(kind, [&](uint32_t name) { return name == from ? to : name; })) || lowered;
        }
      }
    }
    return lowered;
  }

  // 0, or by halves of what is left as near to it as goes. Names are what lower_names is for: one alone is another
  // program.
  bool simpler_field(size_t index, int shift, uint32_t mask) {
    const auto value = [&] { return static_cast<uint32_t>(decode_operation(words_[index]).bits) >> shift & mask; };
    const uint32_t before = value();
    for (uint32_t step = before; step > 0; step /= 2) {
      while (value() >= step) {
        Words candidate = words_;
        candidate[index] = with_field(candidate[index], shift, mask, value() - step);
        if (!take(std::move(candidate))) break;
      }
    }
    return value() < before;
  }

  bool simpler_arguments() {
    bool simpler = false;
    for (size_t i = 0; i < words_.size(); ++i) {
      for_each_field(decode_operation(words_[i]), [&](FieldKind kind, int shift, uint32_t mask) {
        if (!is_name(kind)) simpler = simpler_field(i, shift, mask) || simpler;
      });
    }
    return simpler;
  }

  const std::function<bool(ProgramView)>& same_;
  size_t most_tries_;
  Words words_;
  size_t tries_ = 0;
  bool complete_ = true;
};

}  // namespace

Minimized minimize(ProgramView program, const std::function<bool(ProgramView)>& same, size_t most_tries) {
  return Minimizer(program, same, most_tries).run();
}

}  // namespace stackdrain
