// Units: an arena in steps of the smallest stack (2 KiB), and tables with an entry or a bit for each.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "target/base.h"
#include "target/stack.h"

namespace stackdrain {

inline constexpr uint32_t kUnitsPerSpan = kPoolSpanBytes / kMinStackBytes;

// Memory of its own, zero, which the system provides when it is touched.
template <class T>
class Table {
 public:
  explicit Table(size_t count) : bytes_(count * sizeof(T)) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    STACKDRAIN_CHECK(memory != MAP_FAILED, "cannot reserve a policy's tables; use a smaller arena");
    items_ = static_cast<T*>(memory);
  }
  ~Table() { munmap(items_, bytes_); }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  T& operator[](size_t index) const { return items_[index]; }

 private:
  T* items_;
  size_t bytes_;
};

}  // namespace stackdrain
