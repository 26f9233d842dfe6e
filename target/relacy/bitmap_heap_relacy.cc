// span_bits.h: spans whose bits share a word are issued and freed, while somebody asks what is at a page. With the very
// tables of bits.h and their summaries; the heap around them is a lock, as BitmapHeap holds it.
#include "target/relacy/explore.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "target/drain/span_bits.h"

namespace stackdrain::relacy {
namespace {

// A few words: where the spans of a test begin is chosen so that no two share one, modulo kWords.
template <class T>
class SmallTable {
 public:
  explicit SmallTable(size_t count) {
    for (size_t i = 0; i < std::min(count, kWords); ++i) words_[i].store(0, std::memory_order_relaxed);
  }
  T& operator[](size_t index) const { return words_[index % kWords]; }

 private:
  static constexpr size_t kWords = 8;

  mutable T words_[kWords];
};

struct Tables : System {
  template <class T>
  using Table = SmallTable<T>;
};

struct Span {
  uint32_t first;
  uint32_t pages;
  SpanState state;
  uint32_t generation;
  uint8_t order;
};

// What BitmapHeap does to spans_ where it holds its lock (kLocked: or does not).
template <class Orders, bool kLocked = true>
struct Heap {
  static constexpr uint32_t kPages = 2 * kWordBits;

  SpanBits<Tables, Orders> spans{kPages};
  rl::mutex mutex;

  template <class Step>
  void locked(const Step& step) {
    if (kLocked) mutex.lock(RL_INFO);
    step();
    if (kLocked) mutex.unlock(RL_INFO);
  }
  void issue(const Span& span) const {
    if (Orders::kStateFirst) spans.publish(span.first, span.pages, span.state);
    spans.describe(span.first, {span.generation, span.order, span.pages});
    spans.publish(span.first, span.pages, span.state);
  }
  void free(const Span& span) const {
    for_words(span.first, span.pages,
              [&](size_t word, uint64_t mask) { spans.withdraw(word, mask, span.state == SpanState::kStack); });
  }
  // As locate(): who sees the state of a span at a page finds all of that span. False if it sees another.
  bool finds(const Span& span, uint32_t page) const {
    const auto found = spans.find(page);
    if (found.state != span.state) return false;
    RL_ASSERT(found.first == span.first);
    const SpanMeta meta = spans.meta_of(found.first);
    RL_ASSERT(meta.generation == span.generation && meta.order == span.order && meta.pages == span.pages);
    return true;
  }
};

// One span is issued, its neighbour is freed, a reader asks about a page of the first: no answer yet, or a right one.
// Without the lock one of the two is lost.
template <class Orders, class Scene, bool kLocked = true>
struct IssueTest : rl::test_suite<IssueTest<Orders, Scene, kLocked>, 3> {
  Heap<Orders, kLocked> heap;

  void before() { heap.issue(Scene::kNeighbour); }
  void thread(unsigned index) {
    if (index == 0) return heap.locked([&] { heap.issue(Scene::kIssued); });
    if (index == 1) return heap.locked([&] { heap.free(Scene::kNeighbour); });
    heap.finds(Scene::kIssued, Scene::kAsked);
  }
  void after() {
    RL_ASSERT(heap.finds(Scene::kIssued, Scene::kAsked));
    RL_ASSERT(heap.spans.find(Scene::kNeighbour.first).state == SpanState::kFree);
  }
};

struct Stacks {
  static constexpr Span kNeighbour = {0, 4, SpanState::kStack, 1, 0};
  static constexpr Span kIssued = {4, 4, SpanState::kStack, 2, 1};
  static constexpr uint32_t kAsked = 5;
};
struct HeapSpans {
  static constexpr Span kNeighbour = {5, 1, SpanState::kInUse, 1, kNoOrder};
  static constexpr Span kIssued = {2, 3, SpanState::kInUse, 2, kNoOrder};
  static constexpr uint32_t kAsked = 4;
};
// Asked about in another word than it begins in, whose only start and summary bit go away.
struct Across {
  static constexpr Span kNeighbour = {68, 1, SpanState::kInUse, 1, kNoOrder};
  static constexpr Span kIssued = {62, 6, SpanState::kInUse, 2, kNoOrder};
  static constexpr uint32_t kAsked = 65;
};

// A span is freed, and somebody else issues its pages, and more or fewer, as another kind of span. The reader who sees
// the new state finds nothing of the old span; what else it sees is any answer.
template <class Orders, class Scene>
struct ReuseTest : rl::test_suite<ReuseTest<Orders, Scene>, 3> {
  Heap<Orders> heap;
  rl::var<bool> idle;

  void before() {
    idle(RL_INFO) = false;
    heap.issue(Scene::kOld);
  }
  void thread(unsigned index) {
    if (index == 0) {
      return heap.locked([&] {
        heap.free(Scene::kOld);
        idle(RL_INFO) = true;
      });
    }
    if (index == 1) {
      return heap.locked([&] {
        if (idle(RL_INFO)) heap.issue(Scene::kNew);
      });
    }
    heap.finds(Scene::kNew, Scene::kAsked);
  }
};

// The old one's start is in the middle of the new one.
struct StackToHeap {
  static constexpr Span kOld = {4, 4, SpanState::kStack, 1, 2};
  static constexpr Span kNew = {2, 7, SpanState::kInUse, 2, kNoOrder};
  static constexpr uint32_t kAsked = 5;
};
// The old one's start is before the new one's.
struct HeapToStack {
  static constexpr Span kOld = {2, 7, SpanState::kInUse, 1, kNoOrder};
  static constexpr Span kNew = {4, 4, SpanState::kStack, 2, 2};
  static constexpr uint32_t kAsked = 5;
};
// The old one's start is between the new one's start and who asks, in another word than that.
struct AcrossToStack {
  static constexpr Span kOld = {65, 1, SpanState::kStack, 1, kLargeOrder};
  static constexpr Span kNew = {62, 5, SpanState::kInUse, 2, kNoOrder};
  static constexpr uint32_t kAsked = 66;
};

// A span's pages are reused in the same kind for slots of another size, and its address is handed to a reader, who
// finds the new span although it can't tell it by its state. That is the edge of who hands it over, and wants none of
// ours.
template <class Orders, bool kOrdered = true>
struct HandOverTest : rl::test_suite<HandOverTest<Orders, kOrdered>, 2> {
  static constexpr Span kOld = {4, 4, SpanState::kStack, 1, 0};
  static constexpr Span kNew = {4, 4, SpanState::kStack, 2, 2};

  Heap<Orders> heap;
  System::Atomic<uint32_t> handed{0};

  void before() {
    handed.store(0, std::memory_order_relaxed);
    heap.issue(kOld);
  }
  void thread(unsigned index) {
    if (index == 0) {
      heap.locked([&] { heap.free(kOld); });
      heap.locked([&] { heap.issue(kNew); });
      return handed.store(5, kOrdered ? std::memory_order_release : std::memory_order_relaxed);
    }
    const uint32_t page = handed.load(kOrdered ? std::memory_order_acquire : std::memory_order_relaxed);
    if (page != 0) RL_ASSERT(heap.finds(kNew, page));
  }
};

// A span that stays while neighbours in its words come and go: who asks finds it all the time. Of a heap that frees a
// neighbour by withdrawing and publishing again what stays (kByWords) that is not true, although it holds the lock.
template <bool kByWords>
struct KeepTest : rl::test_suite<KeepTest<kByWords>, 3> {
  static constexpr Span kBefore = {57, 2, SpanState::kInUse, 1, kNoOrder};
  static constexpr Span kKept = {62, 4, SpanState::kInUse, 2, kNoOrder};
  static constexpr Span kBehind = {67, 1, SpanState::kInUse, 3, kNoOrder};
  static constexpr Span kNew = {68, 2, SpanState::kStack, 4, kLargeOrder};

  Heap<SpanBitsOrders> heap;

  void before() {
    for (const Span& span : {kBefore, kKept, kBehind}) heap.issue(span);
  }
  void thread(unsigned index) {
    if (index == 0) {
      return heap.locked([&] {
        heap.free(kBefore);
        if (!kByWords) return;
        heap.free(kKept);
        heap.issue(kKept);
      });
    }
    if (index == 1) {
      return heap.locked([&] {
        heap.free(kBehind);
        heap.issue(kNew);
      });
    }
    RL_ASSERT(heap.finds(kKept, 65));
  }
};

// clean(): whose pages they are looks without the lock whether they are zero, while others' bits in the word change.
// What they were freed with is seen by the lock, which whoever freed them held before who issued them. The change of
// the bits wants it, too (kLocked): else another's is lost.
template <bool kLocked>
struct CleanTest : rl::test_suite<CleanTest<kLocked>, 3> {
  static constexpr uint32_t kMine = 1;
  static constexpr uint32_t kOther = 2;

  BasicBits<Tables> zero{kWordBits};
  Heap<SpanBitsOrders> heap;
  rl::var<bool> idle;
  bool issued = false;

  void before() {
    issued = false;
    idle(RL_INFO) = false;
  }
  void thread(unsigned index) {
    if (index == 0) {
      return heap.locked([&] {
        zero.put(0, BasicBits<Tables>::mask(kMine));
        idle(RL_INFO) = true;
      });
    }
    if (index == 1) return heap.locked([&] { zero.put(0, BasicBits<Tables>::mask(kOther)); });
    heap.locked([&] { issued = idle(RL_INFO); });
    if (!issued) return;
    RL_ASSERT(zero.test(kMine));
    const auto cleaned = [&] { zero.drop(0, BasicBits<Tables>::mask(kMine)); };
    kLocked ? heap.locked(cleaned) : cleaned();
  }
  void after() { RL_ASSERT(zero.test(kOther) && zero.test(kMine) != issued); }
};

struct PublishRelaxed : SpanBitsOrders {
  static constexpr auto kPublish = std::memory_order_relaxed;
};
struct WithdrawRelaxed : SpanBitsOrders {
  static constexpr auto kWithdraw = std::memory_order_relaxed;
};
struct SeeStateRelaxed : SpanBitsOrders {
  static constexpr auto kSeeState = std::memory_order_relaxed;
};
struct StateFirst : SpanBitsOrders {
  static constexpr bool kStateFirst = true;
};
struct AllRelaxed : SpanBitsOrders {
  static constexpr auto kPublish = std::memory_order_relaxed;
  static constexpr auto kWithdraw = std::memory_order_relaxed;
  static constexpr auto kSeeState = std::memory_order_relaxed;
};

std::string named(const char* what, const char* how) {
  return std::string(what) + how;
}

template <class Scene>
void explore_issue(Explored& explored, const char* what, Search search) {
  explored.holds<IssueTest<SpanBitsOrders, Scene>>(what, search);
  explored.breaks<IssueTest<PublishRelaxed, Scene>>(named(what, ", published relaxed").c_str(), search);
  explored.breaks<IssueTest<WithdrawRelaxed, Scene>>(named(what, ", the neighbour is withdrawn relaxed").c_str(),
                                                     search);
  explored.breaks<IssueTest<SeeStateRelaxed, Scene>>(named(what, ", the state is read relaxed").c_str(), search);
  explored.breaks<IssueTest<StateFirst, Scene>>(named(what, ", state-published-early").c_str(), search);
  explored.breaks<IssueTest<SpanBitsOrders, Scene, false>>(named(what, ", without the lock").c_str(), search);
}

template <class Scene>
void explore_reuse(Explored& explored, const char* what) {
  explored.holds<ReuseTest<SpanBitsOrders, Scene>>(what, kAll);
  explored.breaks<ReuseTest<PublishRelaxed, Scene>>(named(what, ", published relaxed").c_str(), kAll);
  explored.breaks<ReuseTest<SeeStateRelaxed, Scene>>(named(what, ", the state is read relaxed").c_str(), kAll);
  explored.breaks<ReuseTest<StateFirst, Scene>>(named(what, ", state-published-early").c_str(), kAll);
}

int run() {
  Explored explored;
  explore_issue<Stacks>(explored, "issue of a stack", kAll);
  explore_issue<HeapSpans>(explored, "issue of a heap span", kFewSwitches);
  explore_issue<Across>(explored, "issue into two words", kFewSwitches);
  explore_reuse<StackToHeap>(explored, "a stack's pages as a heap span");
  explore_reuse<HeapToStack>(explored, "a heap span's pages as a stack");
  explore_reuse<AcrossToStack>(explored, "a stack's page in a span of two words");
  explored.holds<HandOverTest<SpanBitsOrders>>("handed over", kAll);
  explored.holds<HandOverTest<AllRelaxed>>("handed over, all of ours relaxed", kAll);
  explored.breaks<HandOverTest<SpanBitsOrders, false>>("handed over relaxed", kAll);
  explored.holds<KeepTest<false>>("kept", kFewSwitches);
  explored.breaks<KeepTest<true>>("kept, a neighbour is freed by withdrawing both", kFewSwitches);
  explored.holds<CleanTest<true>>("clean", kAll);
  explored.breaks<CleanTest<false>>("clean, without the lock", kAll);
  return explored.exit_code();
}

}  // namespace
}  // namespace stackdrain::relacy

int main() {
  return stackdrain::relacy::run();
}
