// One growing allocation per lifetime (parameters, gradients, optimizer, activations, scratch). `allocate` bumps a
// pointer; `rewind` goes back to a mark. After a `reset` that had needed several blocks they are merged into one, so
// that a steady state allocates nothing.
#pragma once
#include <vector>

#include "core/device.h"

namespace vlm2vec {

class Arena {
 public:
  // `name` appears in out-of-memory errors.
  Arena(Device& device, std::string name) : device_(device), name_(std::move(name)) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  Tensor allocate(DType dtype, std::initializer_list<int64_t> shape);  // contents undefined
  Tensor allocate_zero(DType dtype, std::initializer_list<int64_t> shape);
  void* allocate_bytes(size_t bytes);

  struct Mark {
    size_t block = 0, used = 0;
  };
  Mark mark() const { return {current_, blocks_.empty() ? 0 : blocks_[current_].used}; }
  void rewind(Mark mark);
  // Lets the system have the pages behind what is in use until they are wanted again.
  void discard_free();
  void reset();

  size_t used() const;
  size_t peak() const { return peak_; }
  Device& device() const { return device_; }

 private:
  struct Block {
    void* memory;
    size_t size, used;
  };
  Device& device_;
  std::string name_;
  std::vector<Block> blocks_;
  size_t current_ = 0, peak_ = 0;
};

// Gives back what was allocated in a scope.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.rewind(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

}  // namespace vlm2vec
