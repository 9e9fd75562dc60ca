// Where tensors live and kernels run: the CPU with a number of threads, or one CUDA device with a stream.
// An object that is passed down; there are no globals. All work on one device is done from one thread at a time
// (napi/executor), so that OpenMP keeps one team of threads.
#pragma once
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <typeindex>
#include <vector>

#include "core/isa.h"
#include "core/tensor.h"

namespace vlm2vec {

class Device {
 public:
  enum class Kind { Cpu, Cuda };

  // threads 0: as many as the machine has cores. `isa` lets tests run the lesser kernels.
  static std::unique_ptr<Device> cpu(int threads = 0, Isa isa = detect_isa());
  // Throws E_CUDA where this build has no CUDA backend, or the machine no such device or too old a driver.
  static std::unique_ptr<Device> cuda(int index);

  virtual ~Device();

  Kind kind() const { return kind_; }
  bool is_cuda() const { return kind_ == Kind::Cuda; }
  int threads() const { return threads_; }
  Isa isa() const { return isa_; }
  virtual std::string describe() const = 0;

  // 64-byte aligned (CPU), 256-byte aligned (CUDA). Throws E_MEMORY, naming the size.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  // The contents are not needed any more; the memory stays allocated.
  virtual void discard(void* /*memory*/, size_t /*bytes*/) noexcept {}
  virtual void zero(void* memory, size_t bytes) = 0;
  virtual void to_device(void* to, const void* from_host, size_t bytes) = 0;
  virtual void to_host(void* to, const void* from_device, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void synchronize() = 0;

  // How often memory was allocated: on the CPU.
  size_t allocations() const { return allocations_; }

  // What an op keeps on a device between calls (primitive caches, library handles): one object of each type.
  template <typename State>
  State& state() {
    auto& slot = states_[std::type_index(typeid(State))];
    if (!slot) slot = std::make_shared<State>(*this);
    return *static_cast<State*>(slot.get());
  }

 protected:
  Device(Kind kind, int threads, Isa isa) : kind_(kind), threads_(threads), isa_(isa) {}
  // A device that owns what states may point to calls this first in its destructor.
  void drop_states() { states_.clear(); }
  size_t allocations_ = 0;

 private:
  Kind kind_;
  int threads_;
  Isa isa_;
  std::map<std::type_index, std::shared_ptr<void>> states_;
};

struct CudaDeviceInfo {
  std::string name;
  size_t memory;     // bytes
  int major, minor;  // compute capability
};
// The CUDA devices of this machine, by index. Where there is none, `problem` says why and how to repair it; never
// throws.
std::vector<CudaDeviceInfo> cuda_devices(std::string* problem);

// E_CUDA, for ops that have no CUDA kernel.
void require_cpu(const Device& device, const char* op);

void zero(Tensor x);                // dense only
void copy(Tensor to, Tensor from);  // same type and size, dense, same device

}  // namespace vlm2vec

// In the dispatch of an op that has a .cu: `return cuda::call` where the tensors are on a CUDA device.
#if defined(VLM2VEC_CUDA)
#define VLM2VEC_DISPATCH_CUDA(device, call) \
  if ((device).is_cuda()) return cuda::call
#else
#define VLM2VEC_DISPATCH_CUDA(device, call) static_cast<void>(device)
#endif
