#include "benchmarks/chase.h"

#include <emmintrin.h>

#include <algorithm>
#include <fstream>

#include "target/stack_cache.h"

namespace stackdrain {
namespace {

constexpr size_t kLine = 64;

// Twice the last level. From sysfs: sysconf multiplies by the sharing cores on some guests (320 MiB for 32).
size_t flush_buffer_bytes() {
  size_t kib = 0;
  std::ifstream("/sys/devices/system/cpu/cpu0/cache/index3/size") >> kib;
  return std::max(size_t{64} << 20, 2 * kib * 1024);
}

}  // namespace

uintptr_t link_for_chase(std::span<const Stack> stacks, std::span<const uint32_t> order) {
  uintptr_t first = 0;
  for (const uint32_t index : order) {
    link_of(stacks[index].lo) = first;
    first = stacks[index].lo;
  }
  return first;
}

size_t chase(uintptr_t first) {
  size_t count = 0;
  for (uintptr_t at = first; at != 0; at = *reinterpret_cast<const volatile uintptr_t*>(at)) ++count;
  return count;
}

CacheFlusher::CacheFlusher() : buffer_(flush_buffer_bytes() / sizeof(uint64_t), 1) {}

void CacheFlusher::flush(std::span<const Stack> stacks, std::span<const uint32_t> order, bool everything) {
  for (const uint32_t index : order) _mm_clflush(reinterpret_cast<const void*>(stacks[index].lo));
  _mm_mfence();
  if (!everything) return;
  volatile uint64_t* const words = buffer_.data();
  for (size_t i = 0; i < buffer_.size(); i += kLine / sizeof(uint64_t)) words[i] = words[i] + 1;
  _mm_mfence();
}

}  // namespace stackdrain
