// span_words.h: a span is issued, and an in-place shrink narrows it, while somebody asks about an address in it.
#include "target/relacy/explore.h"

#include "target/span_words.h"

namespace stackdrain::relacy {
namespace {

constexpr uint32_t kPages = 8;

// The page heap issues a span, and a reader asks what is there, as locate() does. #35541.
template <class Orders>
struct IssueTest : rl::test_suite<IssueTest<Orders>, 2> {
  SpanWords<System, Orders> span;

  void before() {
    span.set_range(0, kPages);
    span.set_generation(0);
    span.publish(SpanState::kFree);
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (Orders::kStateFirst) span.publish(SpanState::kStack);
      span.set_generation(1);
      span.publish(SpanState::kStack);
      return;
    }
    for (int look = 0; look < 2; ++look) {
      if (!span.covers(3) || span.current() != SpanState::kStack) continue;
      RL_ASSERT(span.current_generation() != 0);
    }
  }
};

// An in-place shrink beside a reader who asks about the upper half: it is found all the time.
template <class Orders>
struct NarrowTest : rl::test_suite<NarrowTest<Orders>, 2> {
  SpanWords<System, Orders> span;

  void before() {
    span.set_range(0, kPages);
    span.set_generation(1);
    span.publish(SpanState::kStack);
  }
  void thread(unsigned index) {
    if (index == 0) return span.narrow(kPages / 2, kPages / 2);
    for (const uint32_t page : {kPages / 2, kPages - 1}) {
      RL_ASSERT(span.covers(page) && span.current() == SpanState::kStack);
    }
  }
};

struct PublishRelaxed : SpanOrders {
  static constexpr auto kPublish = std::memory_order_relaxed;
};
struct SeeStateRelaxed : SpanOrders {
  static constexpr auto kSeeState = std::memory_order_relaxed;
};
struct StateFirst : SpanOrders {
  static constexpr bool kStateFirst = true;
};
struct NarrowRelaxed : SpanOrders {
  static constexpr auto kNarrowPages = std::memory_order_relaxed;
};
struct SeePagesRelaxed : SpanOrders {
  static constexpr auto kSeePages = std::memory_order_relaxed;
};

int run() {
  Explored explored;
  explored.holds<IssueTest<SpanOrders>>("issue", kAll);
  explored.breaks<IssueTest<PublishRelaxed>>("issue, the state is stored relaxed", kAll);
  explored.breaks<IssueTest<SeeStateRelaxed>>("issue, the state is read relaxed", kAll);
  explored.breaks<IssueTest<StateFirst>>("issue, state-published-early", kAll);
  explored.holds<NarrowTest<SpanOrders>>("narrow", kAll);
  explored.breaks<NarrowTest<NarrowRelaxed>>("narrow, the length is stored relaxed", kAll);
  explored.breaks<NarrowTest<SeePagesRelaxed>>("narrow, the length is read relaxed", kAll);
  return explored.exit_code();
}

}  // namespace
}  // namespace stackdrain::relacy

int main() {
  return stackdrain::relacy::run();
}
