// Runs a kernel on the CPU. The threads of a block are coroutines of one thread: each runs until it waits at a barrier
// or at an exchange within its warp, and goes on when all that have to be there have come. Their order changes from
// round to round, and shared memory holds NaN at first, so that a missing barrier shows; a barrier that some threads
// never reach, and a write behind the shared memory that was asked for, end the process with a message.
#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cuda_runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace vlm2vec::cuda {
constexpr size_t kSharedBytes = 256 * 1024;
uint4 shared_memory[kSharedBytes / sizeof(uint4)];
}  // namespace vlm2vec::cuda

namespace emulation {

namespace {

constexpr size_t kStackBytes = 128 * 1024;
constexpr int kMostThreads = 1024;
constexpr uint8_t kNaN = 0xff, kGuard = 0xa5;
constexpr size_t kGuardBytes = 1024;

enum class State { Free, Ready, AtBlock, AtWarp, Done };  // Free: nothing to wait for but its warp's turn

struct Fiber {
  State state;
  bool started = false;
  unsigned exchanges;  // so far: their parity chooses the buffer
  jmp_buf where;
};

struct Post {
  alignas(8) uint8_t lanes[2][kWarp * kPostBytes];
};

struct Block {
  std::vector<Fiber> fibers = std::vector<Fiber>(kMostThreads);
  std::vector<std::unique_ptr<char[]>> stacks;
  std::vector<Post> posts = std::vector<Post>(kMostThreads / kWarp);
  jmp_buf scheduler;
  int current = 0;
  const std::function<void()>* thread = nullptr;
};

Block& block() {
  static Block b;
  return b;
}

}  // namespace

void stop(const char* message) {
  std::fprintf(stderr, "CUDA emulation: block (%u, %u, %u), thread %d: %s\n", blockIdx.x, blockIdx.y, blockIdx.z,
               block().current, message);
  std::exit(3);
}

namespace {

// Gives control to the scheduler, until this thread is resumed.
__attribute__((noinline)) void wait(State state) {
  Block& b = block();
  b.fibers[b.current].state = state;
  if (_setjmp(b.fibers[b.current].where) == 0) _longjmp(b.scheduler, 1);
}

// A fiber runs its thread of one block after the other: starting anew would cost system calls.
void entry() {
  for (;;) {
    (*block().thread)();
    wait(State::Done);
  }
}

__attribute__((noinline)) void resume(int t) {
  Block& b = block();
  b.current = t;
  threadIdx = {unsigned(t), 0, 0};
  if (_setjmp(b.scheduler) != 0) return;
  Fiber& fiber = b.fibers[t];
  if (fiber.started) _longjmp(fiber.where, 1);
  fiber.started = true;
  while (b.stacks.size() <= size_t(t)) b.stacks.push_back(std::make_unique<char[]>(kStackBytes));
  static ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = b.stacks[t].get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
  setcontext(&context);
}

bool all(State state, int first, int count) {
  for (int t = first; t < first + count; ++t)
    if (block().fibers[t].state != state) return false;
  return true;
}

void set(State state, int first, int count) {
  for (int t = first; t < first + count; ++t) block().fibers[t].state = state;
}

unsigned draw() {
  static unsigned state = 1;
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

bool can_go(int warp) { return all(State::AtWarp, warp * kWarp, kWarp) || all(State::Free, warp * kWarp, kWarp); }

// Gives the turn to a warp: the one that had it, as far as it comes, then another, drawn by lot; and when none can go
// because all threads are at the block's barrier, to one of all.
void give_turn(int threads, int& warp) {
  const int warps = threads / kWarp;
  if (all(State::AtBlock, 0, threads)) set(State::Free, 0, threads);
  if (!can_go(warp)) {
    const int first = int(draw() % unsigned(warps));
    for (int i = 0; i < warps && !can_go(warp); ++i) warp = (first + i) % warps;
  }
  if (!can_go(warp)) stop("threads wait at a barrier, or for their warp, for others that never come");
  set(State::Ready, warp * kWarp, kWarp);
}

void run_block(int threads) {
  Block& b = block();
  set(State::Free, 0, threads);
  for (int t = 0; t < threads; ++t) b.fibers[t].exchanges = 0;
  for (int warp = 0; !all(State::Done, 0, threads);) {
    give_turn(threads, warp);
    const int first = int(draw() % kWarp);
    for (int i = 0; i < kWarp; ++i) resume(warp * kWarp + (first + i) % kWarp);
  }
}

}  // namespace

void block_barrier() { wait(State::AtBlock); }

const uint8_t* exchange(const void* posted, size_t bytes) {
  Block& b = block();
  Fiber& fiber = b.fibers[b.current];
  uint8_t* lanes = b.posts[b.current / kWarp].lanes[fiber.exchanges++ % 2];
  std::memcpy(lanes + size_t(b.current % kWarp) * kPostBytes, posted, bytes);
  wait(State::AtWarp);
  return lanes;
}

void run_grid(dim3 grid, dim3 threads, size_t shared_bytes, const std::function<void()>& thread) {
  auto* shared = reinterpret_cast<uint8_t*>(vlm2vec::cuda::shared_memory);
  gridDim = grid;
  blockDim = threads;
  block().thread = &thread;
  if (threads.x % kWarp != 0 || threads.x > kMostThreads) stop("the emulation runs whole warps, 1024 threads at most");
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        std::memset(shared, kNaN, shared_bytes);
        std::memset(shared + shared_bytes, kGuard, kGuardBytes);
        run_block(int(threads.x));
        for (size_t i = 0; i < kGuardBytes; ++i)
          if (shared[shared_bytes + i] != kGuard) stop("a write behind the block's shared memory");
      }
}

}  // namespace emulation
