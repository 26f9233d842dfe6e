// Pair study: what an allocation and the free that belongs to it cost, hot, on one and more threads.
//
// An allocator here is anything with take(thread, bytes) and give(thread, block, bytes). Each thread keeps kPairLive
// blocks at most, frees them in one of four orders, and writes a word at the high end of each, where a stack begins: a
// block that nobody writes to is one that a compiler may leave out. All threads begin together; the answer is the mean
// of their own times.
#pragma once

#include <algorithm>
#include <array>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <thread>
#include <vector>

#include "benchmarks/recorder.h"
#include "target/base.h"

namespace stackdrain {

enum class PairPattern : uint8_t { kHot, kLifo, kFifo, kRandom };
inline constexpr std::string_view kPairPatterns[] = {"hot", "lifo", "fifo", "random"};
inline constexpr size_t kPairLive = 64;  // four times or more of what a processor's cache holds, 32 KiB
inline constexpr size_t kPairSizes[] = {2048, 8192};
inline constexpr int kPairThreads[] = {1, 2};

namespace pair_study {

template <class Allocator>
class Worker {
 public:
  Worker(Allocator& allocator, int thread, size_t bytes) : allocator_(allocator), thread_(thread), bytes_(bytes) {}

  void fill() {
    for (uintptr_t& block : blocks_) block = take();
  }
  void empty() {
    for (const uintptr_t block : blocks_) give(block);
  }
  // `pairs` rounded up to whole rounds; the pairs done.
  size_t run(PairPattern pattern, size_t pairs) {
    switch (pattern) {
      case PairPattern::kHot:
        for (size_t i = 0; i < pairs; ++i) give(take());
        return pairs;
      case PairPattern::kLifo:
        for (size_t done = 0;; done += kPairLive) {
          if (done >= pairs) return done;
          for (size_t i = kPairLive; i-- > 0;) give(blocks_[i]);
          fill();
        }
      case PairPattern::kFifo:
        for (size_t i = 0; i < pairs; ++i) replace(i % kPairLive);
        return pairs;
      case PairPattern::kRandom:
        for (size_t i = 0; i < pairs; ++i) replace(next_random() % kPairLive);
        return pairs;
    }
    return 0;
  }

 private:
  uintptr_t take() {
    const uintptr_t block = allocator_.take(thread_, bytes_);
    STACKDRAIN_CHECK(block != 0, "an allocator of the pair study is out of memory");
    *reinterpret_cast<volatile uintptr_t*>(block + bytes_ - sizeof(uintptr_t)) = block;
    return block;
  }
  void give(uintptr_t block) { allocator_.give(thread_, block, bytes_); }
  void replace(size_t i) {
    give(blocks_[i]);
    blocks_[i] = take();
  }
  uint32_t next_random() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 17;
    random_ ^= random_ << 5;
    return random_;
  }

  Allocator& allocator_;
  int thread_;
  size_t bytes_;
  uint32_t random_ = 2463534242u + static_cast<uint32_t>(thread_);
  std::array<uintptr_t, kPairLive> blocks_{};
};

}  // namespace pair_study

// Nanoseconds of one allocation and one free.
template <class Allocator>
double pair_ns(Allocator& allocator, PairPattern pattern, int threads, size_t bytes, size_t pairs) {
  std::barrier ready(threads);
  std::vector<double> each(static_cast<size_t>(threads));
  const auto work = [&](int thread) {
    pair_study::Worker<Allocator> worker(allocator, thread, bytes);
    worker.fill();
    worker.run(pattern, pairs / 16);  // warm
    ready.arrive_and_wait();
    const int64_t start = now_ns();
    const size_t done = worker.run(pattern, pairs);
    each[static_cast<size_t>(thread)] = static_cast<double>(now_ns() - start) / static_cast<double>(done);
    ready.arrive_and_wait();
    worker.empty();
  };
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(threads));
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  work(0);
  for (std::thread& other : others) other.join();
  double sum = 0;
  for (const double ns : each) sum += ns;
  return sum / threads;
}

}  // namespace stackdrain
