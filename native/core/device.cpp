#include "core/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
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
    // the system hands out address space; where it overcommits, an absurd size is still refused here
    void* memory = bytes >= kLarge ? map(bytes) : nullptr;
    if (bytes < kLarge && posix_memalign(&memory, 64, bytes) != 0) memory = nullptr;
    if (!memory)
      fail("E_MEMORY", "cannot allocate ", (bytes >> 20) + 1,
           " MiB; use a smaller chunk (--train.chunk-size, --batch-tokens), smaller pictures (--max-pixels) or --dtype "
           "bf16");
    ++allocations_;
    return memory;
  }
  void release(void* memory) noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = mapped_.find(memory);
    if (found == mapped_.end()) return std::free(memory);
    ::munmap(memory, found->second);
    mapped_.erase(found);
  }
  void discard(void* memory, size_t bytes) noexcept override {
    const size_t before = (kPage - reinterpret_cast<uintptr_t>(memory) % kPage) % kPage;
    if (bytes > before) ::madvise(static_cast<char*>(memory) + before, (bytes - before) / kPage * kPage, MADV_DONTNEED);
  }
  void zero(void* memory, size_t bytes) override { std::memset(memory, 0, bytes); }
  void to_device(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void to_host(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memmove(to, from, bytes); }
  void synchronize() override {}

 private:
  static constexpr size_t kLarge = size_t(4) << 20, kHugePage = size_t(2) << 20, kPage = 4096;

  // Large memory goes back to the system when it is released, which malloc does not promise. Null: there is none.
  void* map(size_t bytes) {
    if (bytes > SIZE_MAX / 2) return nullptr;
    const size_t size = (bytes + kPage - 1) / kPage * kPage, all = size + kHugePage;
    char* first = static_cast<char*>(::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (first == MAP_FAILED) return nullptr;
    const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(first) % kHugePage) % kHugePage;
    if (before > 0) ::munmap(first, before);
    ::munmap(first + before + size, all - before - size);
    ::madvise(first + before, size, MADV_HUGEPAGE);
    const std::lock_guard<std::mutex> lock(mutex_);
    mapped_[first + before] = size;
    return first + before;
  }
  std::mutex mutex_;
  std::map<void*, size_t> mapped_;
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
