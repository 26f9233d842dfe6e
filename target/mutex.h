// Mutex: std::mutex behind clang's thread-safety annotations.
//
// Every lock of target is one of these, so that "which lock guards what" is checked by the compiler (clang,
// -Wthread-safety) and by TSan, which sees std::mutex through its interceptors.
#pragma once

#include <mutex>

#if defined(__clang__)
#define STACKDRAIN_ANNOTATION(x) __attribute__((x))
#else
#define STACKDRAIN_ANNOTATION(x)
#endif

#define SD_CAPABILITY(x) STACKDRAIN_ANNOTATION(capability(x))
#define SD_SCOPED_CAPABILITY STACKDRAIN_ANNOTATION(scoped_lockable)
#define SD_GUARDED_BY(x) STACKDRAIN_ANNOTATION(guarded_by(x))
#define SD_REQUIRES(...) STACKDRAIN_ANNOTATION(requires_capability(__VA_ARGS__))
#define SD_ACQUIRE(...) STACKDRAIN_ANNOTATION(acquire_capability(__VA_ARGS__))
#define SD_RELEASE(...) STACKDRAIN_ANNOTATION(release_capability(__VA_ARGS__))
#define SD_EXCLUDES(...) STACKDRAIN_ANNOTATION(locks_excluded(__VA_ARGS__))
#define SD_NO_ANALYSIS STACKDRAIN_ANNOTATION(no_thread_safety_analysis)

namespace stackdrain {

class SD_CAPABILITY("mutex") Mutex {
 public:
  void lock() SD_ACQUIRE() { mutex_.lock(); }
  void unlock() SD_RELEASE() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds `mutex` for a scope.
class SD_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) SD_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() SD_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace stackdrain
