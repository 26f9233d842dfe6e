// Fiber: a cooperative thread with a fixed stack of its own, switched by hand: no system call, no allocation.
//
// One FiberSet a thread. run() enters a fiber from the thread's own stack; a fiber leaves to another one with
// switch_to() or back to run()'s caller with leave(). A fiber that is left in the middle of something is forgotten by
// restart(): nothing of it is unwound, so what runs on fibers must hold nothing that a destructor gives back but
// through hooks. ASan and TSan are told of each switch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace stackdrain {

class FiberSet {
 public:
  static constexpr size_t kFibers = 12;
  using Body = void (*)(void* self, size_t fiber);

  // Every fiber runs body(self, number), which must never return.
  FiberSet(Body body, void* self) : body_(body), self_(self) {}
  FiberSet(const FiberSet&) = delete;
  FiberSet& operator=(const FiberSet&) = delete;

  // Forgets where `fiber` is: when it is entered next, it begins its body.
  void restart(size_t fiber);
  // From the thread's own stack: goes to `fiber`; returns when one leaves.
  void run(size_t fiber) { go(kOutside, fiber); }
  // From a fiber: to another one. Returns when somebody comes back.
  void switch_to(size_t from, size_t to) { go(from, to); }
  // From a fiber: back to run()'s caller. Returns when somebody comes back.
  void leave(size_t from) { go(from, kOutside); }

  // What a new fiber runs first.
  void enter(size_t fiber);

 private:
  static constexpr size_t kStackBytes = size_t{64} << 10;
  static constexpr size_t kOutside = kFibers;

  struct Context {
    void* sp = nullptr;
    void* fake_stack = nullptr;    // ASan's, of a context that was left
    const void* bottom = nullptr;  // of its stack
    size_t bytes = 0;
    void* thread = nullptr;  // TSan's
    bool begun = false;
  };

  void go(size_t from, size_t to);
  void arrived(size_t at);
  void prepare(size_t fiber);

  Body body_;
  void* self_;
  std::array<Context, kFibers + 1> contexts_{};
  size_t came_from_ = kOutside;
  alignas(64) std::array<std::array<unsigned char, kStackBytes>, kFibers> stacks_{};
};

}  // namespace stackdrain
