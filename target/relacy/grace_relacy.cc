// grace.h: readers, who make an address unreachable, and who frees what it was the address of.
#include "target/relacy/explore.h"

#include "target/grace.h"

namespace stackdrain::relacy {
namespace {

constexpr uint32_t kOld = 1;
constexpr uint32_t kNew = 2;

// One reader that LOADs twice, one marker that moves a stack and retires it, one that closes and frees.
template <class Orders>
struct GraceTest : rl::test_suite<GraceTest<Orders>, 3> {
  Grace<System, 1, Orders> grace;
  System::Atomic<uint32_t> record;  // the word that holds the stack's address
  rl::mutex queue_lock;
  rl::var<int> queued;
  rl::var<int> memory;  // 1: a stack, 0: free

  void before() {
    grace.reset();
    record.store(kOld, std::memory_order_relaxed);
    queued(RL_INFO) = 0;
    memory(RL_INFO) = 1;
  }
  void thread(unsigned index) {
    if (index == 0) return read();
    if (index == 1) return move();
    close_and_free();
  }
  void read() {
    for (int turn = 0; turn < 2; ++turn) {
      grace.enter(0);
      if (record.load(std::memory_order_acquire) == kOld) RL_ASSERT(memory(RL_INFO) == 1);
      grace.leave(0);
    }
  }
  void move() {
    record.store(kNew, std::memory_order_release);
    queue_lock.lock(RL_INFO);
    queued(RL_INFO) = 1;
    queue_lock.unlock(RL_INFO);
  }
  void close_and_free() {
    bool closed = false;
    for (int look = 0; look < 8; ++look) {
      queue_lock.lock(RL_INFO);
      if (!closed && queued(RL_INFO) == 1) {
        grace.close();
        closed = true;
      }
      const bool over = closed && grace.over();
      queue_lock.unlock(RL_INFO);
      if (!over) continue;
      memory(RL_INFO) = 0;
      return;
    }
  }
};

struct NoEnterFence : GraceOrders {
  static constexpr auto kEnterFence = std::memory_order_acq_rel;
};
struct NoCloseFence : GraceOrders {
  static constexpr auto kCloseFence = std::memory_order_acq_rel;
};
struct LeaveRelaxed : GraceOrders {
  static constexpr auto kLeave = std::memory_order_relaxed;
};
struct SeeRelaxed : GraceOrders {
  static constexpr auto kSee = std::memory_order_relaxed;
};

int run() {
  Explored explored;
  explored.holds<GraceTest<GraceOrders>>("grace");
  explored.breaks<GraceTest<NoEnterFence>>("grace, the reader's fence orders no store before a load");
  explored.breaks<GraceTest<NoCloseFence>>("grace, the closer's fence orders no store before a load");
  explored.breaks<GraceTest<LeaveRelaxed>>("grace, leave is relaxed");
  explored.breaks<GraceTest<SeeRelaxed>>("grace, counts are read relaxed");
  return explored.exit_code();
}

}  // namespace
}  // namespace stackdrain::relacy

int main() {
  return stackdrain::relacy::run();
}
