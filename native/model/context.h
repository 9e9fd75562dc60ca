// What a pass through the model needs besides tensors: where and in which type it computes, scratch memory, dropout.
#pragma once
#include <atomic>
#include <functional>
#include <string>

#include "core/arena.h"
#include "core/device.h"

namespace vlm2vec {

// Sees the states (T, C) of a pass by name: `layer.0`, what enters the first text layer, and `layer.n`, the output of
// layer n - 1.
using Observer = std::function<void(const std::string& name, Tensor state)>;

struct Context {
  Context(Device& where, DType type, Arena& memory) : device(where), compute(type), scratch(memory) {}

  // The same with other scratch memory.
  Context in(Arena& memory) const {
    Context result(device, compute, memory);
    result.dropout = dropout;
    result.seed = seed;
    result.step = step;
    result.row_ids = row_ids;
    result.cancelled = cancelled;
    result.observer = observer;
    return result;
  }

  // The same for what is not kept.
  Context passing() const { return temporary ? in(*temporary) : *this; }

  Device& device;
  DType compute;
  Arena& scratch;              // of one pass: what backward needs, and temporaries in scopes
  Arena* temporary = nullptr;  // where blocks compute of which nothing is kept, if not there

  // Dropout on the adapters' inputs; row ids place every token or patch in its batch. p 0: none.
  float dropout = 0;
  uint64_t seed = 0, step = 0;
  Tensor row_ids;  // (rows of the part being computed) i32

  const std::atomic<bool>* cancelled = nullptr;
  const Observer* observer = nullptr;
  void observe(const std::string& name, Tensor state) const {
    if (observer) (*observer)(name, state);
  }
  // Between layers: lets a closing process end within a layer's time.
  void check_cancelled() const {
    if (cancelled && cancelled->load(std::memory_order_relaxed)) fail("E_ABORTED", "the computation was cancelled");
  }
};

}  // namespace vlm2vec
