#include "benchmarks/world.h"

namespace stackdrain {

int64_t World::wait_for_start() {
  MutexLock lock(mutex_);
  if (!asked_.load(std::memory_order_relaxed)) return 0;
  const uint64_t epoch = epoch_;
  ++stopped_;
  if (--running_ == 0) all_stopped_.notify_one();
  while (epoch_ == epoch) started_.wait(mutex_);
  return now_ns();
}

void World::leave() {
  MutexLock lock(mutex_);
  if (--running_ == 0) all_stopped_.notify_one();
}

void World::stop() {
  MutexLock lock(mutex_);
  asked_.store(true, std::memory_order_relaxed);
  while (running_ != 0) all_stopped_.wait(mutex_);
}

void World::start() {
  {
    MutexLock lock(mutex_);
    asked_.store(false, std::memory_order_relaxed);
    // Counted here, not when they wake: else a next stop() would find nobody running and not wait for them.
    running_ += stopped_;
    stopped_ = 0;
    ++epoch_;
  }
  started_.notify_all();
}

}  // namespace stackdrain
