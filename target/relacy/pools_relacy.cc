// What two pools' own files say of their lock-free words, copied from there line by line, because it stands among what
// belongs to no protocol: bitmap.cc (set pending, offer, take_pending) and sorted_batch.cc (drain, help,
// done_with_share). Who changes one of those changes it here.
#include "target/relacy/explore.h"

namespace stackdrain::relacy {
namespace {

struct OfferOrders {
  static constexpr auto kPend = std::memory_order_seq_cst;      // bit | look at the offer, against kWithdraw
  static constexpr auto kSeeOffer = std::memory_order_seq_cst;  // against kWithdraw
  static constexpr auto kWithdraw = std::memory_order_seq_cst;  // offer gone | look at the bits, against kPend
  static constexpr auto kLook = std::memory_order_seq_cst;      // against kPend
  static constexpr auto kTake = std::memory_order_acquire;      // a marker's use of the stack, by kPend -> the taker's
};

// bitmap: a marker retires a stack that it has read, while somebody takes what is pending and finds nothing, or it.
template <class Orders>
struct OfferTest : rl::test_suite<OfferTest<Orders>, 2> {
  System::Atomic<uint64_t> pending;
  System::Atomic<uint64_t> offers;
  rl::var<int> stack;

  void before() {
    pending.store(0, std::memory_order_relaxed);
    offers.store(1, std::memory_order_relaxed);
    stack(RL_INFO) = 0;
  }
  void thread(unsigned index) {
    if (index == 1) return take();
    stack(RL_INFO) = 1;
    pending.fetch_or(1, Orders::kPend);
    offer();
  }
  void offer() {
    if ((offers.load(Orders::kSeeOffer) & 1) == 0) offers.fetch_or(1, std::memory_order_seq_cst);
  }
  void take() {
    if (pending.load(std::memory_order_relaxed) != 0) {
      pending.fetch_and(~uint64_t{1}, Orders::kTake);
      RL_ASSERT(stack(RL_INFO) == 1);
      return;
    }
    offers.fetch_and(~uint64_t{1}, Orders::kWithdraw);
    if (pending.load(Orders::kLook) != 0) offer();
  }
  void after() {
    const bool waits = pending.load(std::memory_order_relaxed) != 0;
    RL_ASSERT(!waits || offers.load(std::memory_order_relaxed) != 0);
  }
};

struct PendWeak : OfferOrders {
  static constexpr auto kPend = std::memory_order_acq_rel;
};
struct SeeOfferWeak : OfferOrders {
  static constexpr auto kSeeOffer = std::memory_order_acquire;
};
struct WithdrawWeak : OfferOrders {
  static constexpr auto kWithdraw = std::memory_order_acq_rel;
};
struct LookWeak : OfferOrders {
  static constexpr auto kLook = std::memory_order_acquire;
};
struct TakeRelaxed : OfferOrders {
  static constexpr auto kTake = std::memory_order_relaxed;
};

struct ShareOrders {
  static constexpr auto kOpen = std::memory_order_release;  // what the leader prepared -> kSeeShares
  static constexpr auto kSeeShares = std::memory_order_acquire;
  static constexpr auto kDone = std::memory_order_release;  // what a share's taker did -> kAllDone
  static constexpr auto kAllDone = std::memory_order_acquire;
};

// sorted-batch: a leader opens two shares of the drain, a marker that is done helps, the leader goes on when all are.
template <class Orders>
struct ShareTest : rl::test_suite<ShareTest<Orders>, 2> {
  System::Atomic<uint64_t> unclaimed;
  System::Atomic<uint64_t> left;
  rl::var<int> region[2];

  void before() {
    unclaimed.store(0, std::memory_order_relaxed);
    left.store(0, std::memory_order_relaxed);
    region[0](RL_INFO) = region[1](RL_INFO) = 0;
  }
  void thread(unsigned index) {
    if (index == 1) return help();
    region[0](RL_INFO) = 1;
    region[1](RL_INFO) = 1;
    left.store(2, std::memory_order_relaxed);
    unclaimed.store(3, Orders::kOpen);
    help();
    for (int look = 0; look < 4; ++look) {
      if (left.load(Orders::kAllDone) != 0) continue;
      RL_ASSERT(region[0](RL_INFO) == 2 && region[1](RL_INFO) == 2);
      return;
    }
  }
  void help() {
    for (uint64_t regions = unclaimed.load(Orders::kSeeShares); regions != 0;
         regions = unclaimed.load(Orders::kSeeShares)) {
      const uint64_t share = regions & (~regions + 1);
      if ((unclaimed.fetch_and(~share, std::memory_order_acq_rel) & share) == 0) continue;
      rl::var<int>& mine = region[share == 1 ? 0 : 1];
      RL_ASSERT(mine(RL_INFO) == 1);
      mine(RL_INFO) = 2;
      left.fetch_sub(1, Orders::kDone);
    }
  }
};

struct DoneRelaxed : ShareOrders {
  static constexpr auto kDone = std::memory_order_relaxed;
};
struct AllDoneRelaxed : ShareOrders {
  static constexpr auto kAllDone = std::memory_order_relaxed;
};
struct OpenRelaxed : ShareOrders {
  static constexpr auto kOpen = std::memory_order_relaxed;
};

int run() {
  Explored explored;
  explored.holds<OfferTest<OfferOrders>>("bitmap: retire beside a take");
  explored.breaks<OfferTest<PendWeak>>("bitmap, the pending bit is set acquire and release only");
  explored.breaks<OfferTest<SeeOfferWeak>>("bitmap, the offer is read acquire");
  explored.breaks<OfferTest<WithdrawWeak>>("bitmap, the offer is withdrawn acquire and release only");
  explored.breaks<OfferTest<LookWeak>>("bitmap, pending bits are looked at acquire");
  explored.breaks<OfferTest<TakeRelaxed>>("bitmap, a pending stack is taken relaxed");
  explored.holds<ShareTest<ShareOrders>>("sorted-batch: a share beside the leader's");
  explored.breaks<ShareTest<OpenRelaxed>>("sorted-batch, shares are opened relaxed");
  explored.breaks<ShareTest<DoneRelaxed>>("sorted-batch, a share is done relaxed");
  explored.breaks<ShareTest<AllDoneRelaxed>>("sorted-batch, the leader waits relaxed");
  return explored.exit_code();
}

}  // namespace
}  // namespace stackdrain::relacy

int main() {
  return stackdrain::relacy::run();
}
