// Mutex: std::mutex behind clang's thread-safety annotations.
//
// Every lock of target is one of these, so that "which lock guards what" is checked by the compiler (clang,
// -Wthread-safety) and by TSan, which sees std::mutex through its interceptors. In builds with STACKDRAIN_YIELDS a
// harness can watch which lock its thread takes while it holds which others (LockHook), and a lock that the thread
// holds already, or that no other thread takes, is then told and not waited for.
//
// Who finds it taken looks again for a while before it sleeps, as Go's own lock does: a hold is mostly shorter than a
// sleep, and than the system call that ends one.
#pragma once

#include <mutex>

#ifndef STACKDRAIN_YIELDS
#define STACKDRAIN_YIELDS 0
#endif

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

// Who watches a thread's locks. Installed per thread.
class LockHook {
 public:
  // The thread is about to wait for the lock; false: it need not, because it holds it already or is the only one.
  virtual bool acquires(const void* mutex) = 0;
  // False: it did not wait for it, or holds it still, from an outer acquire.
  virtual bool releases(const void* mutex) = 0;

 protected:
  ~LockHook() = default;
};

#if STACKDRAIN_YIELDS
inline thread_local LockHook* lock_hook = nullptr;
inline bool may_lock(const void* mutex) {
  return lock_hook == nullptr || lock_hook->acquires(mutex);
}
inline bool may_unlock(const void* mutex) {
  return lock_hook == nullptr || lock_hook->releases(mutex);
}
#else
constexpr bool may_lock(const void*) {
  return true;
}
constexpr bool may_unlock(const void*) {
  return true;
}
#endif

class SD_CAPABILITY("mutex") Mutex {
 public:
  void lock() SD_ACQUIRE() SD_NO_ANALYSIS {
    // not reached by programs: wants a second thread
    if (may_lock(this) && !mutex_.try_lock()) [[unlikely]]
      wait();
  }
  void unlock() SD_RELEASE() SD_NO_ANALYSIS {
    if (may_unlock(this)) mutex_.unlock();
  }

 private:
  // About a microsecond and a half of looks.
  // not reached by programs: wants a second thread
  void wait() SD_NO_ANALYSIS {
    constexpr int kLooks = 16;
    constexpr int kPauses = 8;
    for (int look = 0; look < kLooks; ++look) {
      for (int pause = 0; pause < kPauses; ++pause) pause_processor();
      if (mutex_.try_lock()) return;
    }
    mutex_.lock();
  }
  // not reached by programs: wants a second thread
  static void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

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
