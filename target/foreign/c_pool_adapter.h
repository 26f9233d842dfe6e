// CPool: the pool behind a table of C functions (c_pool.h) as a DeferringStackPool, which SmallPool makes a StackPool
// of. A table that is incomplete is told when the first pool is made of it.
#pragma once

#include <cstddef>
#include <string_view>

#include "target/base.h"
#include "target/foreign/c_pool.h"
#include "target/stack.h"

namespace stackdrain {

template <const stackdrain_c_pool& kTable>
class CPool {
 public:
  static constexpr std::string_view kSummary = "a pool of yours, behind a table of C functions";
  static bool thread_safe() { return kTable.thread_safe != 0; }
  // Whether it puts off by itself.
  static bool defers() { return kTable.retire != nullptr; }

  CPool() {
    STACKDRAIN_CHECK(kTable.table_bytes == sizeof(stackdrain_c_pool),
                     "a stackdrain_c_pool's table_bytes is not the sizeof of this suite's target/foreign/c_pool.h");
    STACKDRAIN_CHECK(kTable.create != nullptr && kTable.destroy != nullptr && kTable.allocate != nullptr &&
                         kTable.release != nullptr,
                     "a stackdrain_c_pool wants create, destroy, allocate and release");
    STACKDRAIN_CHECK(defers() == (kTable.begin_mark != nullptr) && defers() == (kTable.end_mark != nullptr) &&
                         defers() == (kTable.drain != nullptr),
                     "a stackdrain_c_pool has all of begin_mark, retire, end_mark and drain, or none");
    pool_ = kTable.create();
    STACKDRAIN_CHECK(pool_ != nullptr, "a stackdrain_c_pool's create answered NULL");
  }
  ~CPool() { kTable.destroy(pool_); }
  CPool(const CPool&) = delete;
  CPool& operator=(const CPool&) = delete;

  Stack allocate(size_t bytes) {
    const auto lo = reinterpret_cast<uintptr_t>(kTable.allocate(pool_, bytes));
    return lo == 0 ? Stack{} : Stack{lo, lo + bytes};
  }
  void free(Stack stack) { kTable.release(pool_, low_end(stack), stack.bytes()); }

  void begin_mark(bool concurrent) { kTable.begin_mark(pool_, concurrent ? 1 : 0); }
  void retire(Stack stack) { kTable.retire(pool_, low_end(stack), stack.bytes()); }
  void end_mark() { kTable.end_mark(pool_); }
  size_t drain(size_t budget) { return kTable.drain(pool_, budget); }

 private:
  static void* low_end(Stack stack) { return reinterpret_cast<void*>(stack.lo); }
  void* pool_ = nullptr;
};

}  // namespace stackdrain
