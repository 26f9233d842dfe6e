// claim.h: a goroutine that waits, a sender that writes through its elem and wakes it, a marker that moves its stack.
#include "target/relacy/explore.h"

#include "target/claim.h"

namespace stackdrain::relacy {
namespace {

constexpr uint32_t kOld = 0;
constexpr uint32_t kNew = 1;

template <class Orders>
struct Waiter {
  Claim<System, Orders> claim;
  System::Atomic<uint32_t> elem;
  rl::var<int> stack[2];  // where it lay, where it is moved to

  void begin(GoStatus status) {
    claim.reset();
    elem.store(kOld, std::memory_order_relaxed);
    stack[kOld](RL_INFO) = 0;
    stack[kNew](RL_INFO) = 0;
    claim.set(status);
  }
};

// What a copier does, as Goroutine::claim_for_copy and copy; the slot that elem points at is all there is to the stack.
template <class Test>
void move(Test& test) {
  GoStatus was = test.claim.status();
  if (was != GoStatus::kRunning && was != GoStatus::kWaiting) return;
  if (!test.claim.claim(was)) return;
  if (test.claim.may_move()) {
    test.stack[kNew](RL_INFO) = static_cast<int>(test.stack[kOld](RL_INFO));
    test.elem.store(kNew, std::memory_order_relaxed);
  }
  test.claim.set(was);
}

// A send beside a move: the value arrives where the stack lies in the end, and nobody touches what another moves (D6).
template <class Orders>
struct SendTest : rl::test_suite<SendTest<Orders>, 2>, Waiter<Orders> {
  using Waiter<Orders>::claim;
  using Waiter<Orders>::elem;
  using Waiter<Orders>::stack;

  void before() { this->begin(GoStatus::kWaiting); }
  void thread(unsigned index) {
    if (index == 1) return move(*this);
    for (int tries = 0; tries < 3; ++tries) {
      const bool waiting = claim.observe();
      if (waiting) {
        stack[elem.load(std::memory_order_relaxed)](RL_INFO) = 7;
        claim.wake();
      }
      claim.leave();
      if (waiting) return;
    }
    sent = false;
  }
  void after() {
    if (sent) {
      RL_ASSERT(stack[elem.load(std::memory_order_relaxed)](RL_INFO) == 7 && claim.status() == GoStatus::kRunning);
    }
    sent = true;
  }
  bool sent = true;
};

// A sender whose goroutine somebody else wakes: only that it leaves tells a copier that it is through with elem.
template <class Orders>
struct LeaveTest : rl::test_suite<LeaveTest<Orders>, 2>, Waiter<Orders> {
  void before() { this->begin(GoStatus::kWaiting); }
  void thread(unsigned index) {
    if (index == 1) return move(*this);
    if (this->claim.observe()) this->stack[this->elem.load(std::memory_order_relaxed)](RL_INFO) = 7;
    this->claim.leave();
  }
};

// A sender and the goroutine that it wakes, which reads what it was sent.
template <class Orders>
struct WakeTest : rl::test_suite<WakeTest<Orders>, 2>, Waiter<Orders> {
  void before() { this->begin(GoStatus::kWaiting); }
  void thread(unsigned index) {
    if (index == 0) {
      if (this->claim.observe()) {
        this->stack[kOld](RL_INFO) = 7;
        this->claim.wake();
      }
      return this->claim.leave();
    }
    if (this->claim.status() == GoStatus::kRunning) RL_ASSERT(this->stack[kOld](RL_INFO) == 7);
  }
};

// The owner blocks, and is at its stack a little longer (D10).
template <class Orders>
struct ParkTest : rl::test_suite<ParkTest<Orders>, 2>, Waiter<Orders> {
  using Waiter<Orders>::claim;
  using Waiter<Orders>::stack;

  void before() { this->begin(GoStatus::kSyscall); }
  void thread(unsigned index) {
    if (index == 1) {
      for (int tries = 0; tries < 2; ++tries) move(*this);
      return;
    }
    claim.begin_parking();
    claim.set(GoStatus::kWaiting);
    stack[kOld](RL_INFO) = 5;
    claim.parked();
  }
};

struct ClaimWeak : ClaimOrders {
  static constexpr auto kClaim = std::memory_order_acq_rel;
};
struct SeeObserversWeak : ClaimOrders {
  static constexpr auto kSeeObservers = std::memory_order_acquire;
};
struct SeeObserversRelaxed : ClaimOrders {
  static constexpr auto kSeeObservers = std::memory_order_relaxed;
};
struct AnnounceWeak : ClaimOrders {
  static constexpr auto kAnnounce = std::memory_order_acq_rel;
};
struct JudgeWeak : ClaimOrders {
  static constexpr auto kJudge = std::memory_order_acquire;
};
struct LeaveRelaxed : ClaimOrders {
  static constexpr auto kLeave = std::memory_order_relaxed;
};
struct WakeRelaxed : ClaimOrders {
  static constexpr auto kWake = std::memory_order_relaxed;
};
struct SetRelaxed : ClaimOrders {
  static constexpr auto kSet = std::memory_order_relaxed;
};
struct ParkedRelaxed : ClaimOrders {
  static constexpr auto kParked = std::memory_order_relaxed;
};
struct SeeParkingRelaxed : ClaimOrders {
  static constexpr auto kSeeParking = std::memory_order_relaxed;
};

int run() {
  Explored explored;
  explored.holds<SendTest<ClaimOrders>>("send beside a move");
  explored.breaks<SendTest<ClaimWeak>>("send, the claim is acquire and release only");
  explored.breaks<SendTest<SeeObserversWeak>>("send, observers are read acquire");
  explored.breaks<SendTest<SeeObserversRelaxed>>("send, observers are read relaxed");
  explored.breaks<SendTest<AnnounceWeak>>("send, the observer's announcement is acquire and release only");
  explored.breaks<SendTest<JudgeWeak>>("send, the observer's look at the status is acquire");
  explored.breaks<SendTest<SetRelaxed>>("send, the status is restored relaxed");
  explored.holds<LeaveTest<ClaimOrders>>("send beside a move, somebody else wakes");
  explored.breaks<LeaveTest<LeaveRelaxed>>("send, the observer leaves relaxed");
  explored.holds<WakeTest<ClaimOrders>>("send, and the woken one reads");
  explored.breaks<WakeTest<WakeRelaxed>>("send, the wakeup is relaxed");
  explored.holds<ParkTest<ClaimOrders>>("block beside a move");
  explored.breaks<ParkTest<SetRelaxed>>("block, the status is set relaxed");
  explored.breaks<ParkTest<ParkedRelaxed>>("block, the end of parking is relaxed");
  explored.breaks<ParkTest<SeeParkingRelaxed>>("block, parking is read relaxed");
  return explored.exit_code();
}

}  // namespace
}  // namespace stackdrain::relacy

int main() {
  return stackdrain::relacy::run();
}
