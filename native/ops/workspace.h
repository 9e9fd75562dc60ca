// Memory that a CPU op needs while it runs, kept on the device from one call to the next and grown as needed. Ops on a
// device run one after the other, so they share it.
#pragma once
#include "core/device.h"

namespace vlm2vec {

class Workspace {
 public:
  explicit Workspace(Device& device) : device_(device) {}
  ~Workspace() { device_.release(memory_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  // 64-byte aligned, contents undefined, valid until the next call.
  void* reserve(size_t bytes) {
    if (bytes > size_) {
      device_.release(memory_);
      memory_ = nullptr;
      size_ = 0;
      memory_ = device_.allocate(bytes);
      size_ = bytes;
    }
    return memory_;
  }

 private:
  Device& device_;
  void* memory_ = nullptr;
  size_t size_ = 0;
};

}  // namespace vlm2vec
