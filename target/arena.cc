#include "target/arena.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "target/span.h"

namespace stackdrain {
namespace {

// Of the arena's base. A small stack is aligned to its size relative to its span, which begins at a page (B2); a larger
// one to its span's pages only.
constexpr size_t kArenaAlignment = size_t{1} << 20;
constexpr uint32_t kPoisonedAtOnce = 8192;  // pages: 64 MiB

void* reserve(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  // not reached by programs: the system refuses memory
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "stackdrain: cannot reserve %zu bytes of addresses: %s; use a smaller arena\n", bytes,
                 std::strerror(errno));
    std::abort();
  }
  return memory;
}

}  // namespace

Arena::Arena(size_t bytes) {
  pages_ = static_cast<uint32_t>((bytes + kPageBytes - 1) >> kPageShift);
  reservation_bytes_ = (static_cast<size_t>(pages_) << kPageShift) + kArenaAlignment;
  reservation_ = reserve(reservation_bytes_);
  base_ = (reinterpret_cast<uintptr_t>(reservation_) + kArenaAlignment - 1) & ~(kArenaAlignment - 1);
  // A descriptor per page is the most there can be, and one more because index 0 means none.
  const size_t spans_bytes = (static_cast<size_t>(pages_) + 1) * sizeof(Span);
  const size_t map_bytes = static_cast<size_t>(pages_) * sizeof(std::atomic<uint32_t>);
  tables_bytes_ = spans_bytes + map_bytes + pages_;
  tables_ = reserve(tables_bytes_);
  // Zero bytes are a valid atomic<uint32_t> of 0 and a valid Dead-able Span: the tables stay untouched until used.
  spans_ = static_cast<Span*>(tables_);
  page_map_ = reinterpret_cast<std::atomic<uint32_t>*>(static_cast<char*>(tables_) + spans_bytes);
  dirty_ = reinterpret_cast<uint8_t*>(static_cast<char*>(tables_) + spans_bytes + map_bytes);
}

SD_NO_COVERAGE uint32_t Arena::poison_at_once() const {
  const uint32_t pages = pages_ < kPoisonedAtOnce ? pages_ : kPoisonedAtOnce;
#if STACKDRAIN_ASAN
  __asan_poison_memory_region(reinterpret_cast<void*>(base_), static_cast<size_t>(pages) << kPageShift);
#endif
  return pages;
}

// not reached by programs: no arena that large is reset, and under a fuzzer the system is spared
bool Arena::give_back(uint32_t first, uint32_t pages) const {
  return madvise(reinterpret_cast<void*>(address_of(first)), size_t{pages} << kPageShift, MADV_DONTNEED) == 0;
}

Arena::~Arena() {
  asan_unpoison(base_, static_cast<size_t>(pages_) << kPageShift);
  munmap(reservation_, reservation_bytes_);
  munmap(tables_, tables_bytes_);
}

}  // namespace stackdrain
