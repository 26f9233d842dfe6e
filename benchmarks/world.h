// World: real mutator threads and the means to stop them.
//
//   collector: stop() ──▶ asked_ set ──▶ every mutator reaches safepoint() and blocks ──▶ stop() returns ──▶ start()
//   ──▶ all resume
//
// A mutator calls safepoint() often; while nobody asks it costs one relaxed load. Whoever waits, mutator or collector,
// blocks on a condition variable and never spins. One collector at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "benchmarks/recorder.h"
#include "target/mutex.h"

namespace stackdrain {

class World {
 public:
  // `mutators`: threads that will call safepoint(); known before any starts.
  explicit World(int mutators) : running_(mutators) {}

  // Mutator side: blocks while the world is stopped; the ns at which it was resumed, or 0 if it did not block.
  int64_t safepoint() {
    if (!asked_.load(std::memory_order_relaxed)) [[likely]]
      return 0;
    return wait_for_start();
  }
  // Mutator side: the thread ends and is waited for no more.
  void leave() SD_EXCLUDES(mutex_);

  // Collector side: returns when every mutator is blocked; what they wrote before is visible.
  void stop() SD_EXCLUDES(mutex_);
  // Collector side: lets them go on; what was written while they were stopped is visible to them.
  void start() SD_EXCLUDES(mutex_);

 private:
  int64_t wait_for_start() SD_EXCLUDES(mutex_);

  std::atomic<bool> asked_{false};
  Mutex mutex_;
  std::condition_variable_any all_stopped_;
  std::condition_variable_any started_;
  int running_ SD_GUARDED_BY(mutex_);
  int stopped_ SD_GUARDED_BY(mutex_) = 0;
  uint64_t epoch_ SD_GUARDED_BY(mutex_) = 0;
};

}  // namespace stackdrain
