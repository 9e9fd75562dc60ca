#include "core/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>

namespace vlm2vec {

Device::~Device() = default;

namespace {

class CpuDevice final : public Device {
 public:
  CpuDevice(int threads, Isa isa) : Device(Kind::Cpu, threads, isa) {}
  ~CpuDevice() override { drop_states(); }

  std::string describe() const override { return "CPU, " + std::to_string(threads()) + " threads, " + name_of(isa()); }

  void* allocate(size_t bytes) override {
    // posix_memalign hands out address space; where the system overcommits, an absurd size is still refused here
    void* memory = nullptr;
    const size_t alignment = bytes >= (size_t(4) << 20) ? size_t(2) << 20 : 64;
    if (posix_memalign(&memory, alignment, bytes) != 0)
      fail("E_MEMORY", "cannot allocate ", (bytes >> 20) + 1,
           " MiB; use a smaller chunk (--train.chunk-size, --batch-tokens), smaller pictures (--max-pixels) or --dtype "
           "bf16");
    if (alignment > 64) madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
  }
  void release(void* memory) noexcept override { std::free(memory); }
  void zero(void* memory, size_t bytes) override { std::memset(memory, 0, bytes); }
  void to_device(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void to_host(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memmove(to, from, bytes); }
  void synchronize() override {}
};

}  // namespace

std::unique_ptr<Device> Device::cpu(int threads, Isa isa) {
  if (threads <= 0) threads = int(std::thread::hardware_concurrency());
  return std::make_unique<CpuDevice>(threads < 1 ? 1 : threads, isa);
}

#if !defined(VLM2VEC_CUDA)
std::vector<CudaDeviceInfo> cuda_devices(std::string* problem) {
  *problem = "this build has no CUDA backend; build with a CUDA toolkit installed (npm run build -- --cuda)";
  return {};
}

std::unique_ptr<Device> Device::cuda(int index) {
  fail("E_CUDA", "cuda:", index,
       " was asked for, but this build has no CUDA backend; use --device cpu, or build with a "
       "CUDA toolkit installed (npm run build -- --cuda)");
}
#endif

void require_cpu(const Device& device, const char* op) {
  require(!device.is_cuda(), "E_CUDA", op, " has no CUDA kernel in this version; use --device cpu");
}

void zero(Tensor x) {
  require(x.dense(), "E_SHAPE", "zero: the tensor is not dense");
  if (x.size() > 0) x.device->zero(x.data, x.bytes());
}

void copy(Tensor to, Tensor from) {
  require(to.dense() && from.dense() && to.dtype == from.dtype && to.size() == from.size(), "E_SHAPE", "copy: ", from,
          " does not fit ", to);
  if (to.size() > 0) to.device->copy(to.data, from.data, to.bytes());
}

}  // namespace vlm2vec
