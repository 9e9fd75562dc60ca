#include <algorithm>

#include "core/cuda_device.h"

namespace vlm2vec {

namespace {

constexpr int kLeastMajor = 8;  // bf16 tensor cores

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why cudaGetDeviceCount failed, and how to repair it.
std::string driver_problem(cudaError_t status) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no NVIDIA driver was found; install one (nvidia-smi must list the GPU), or use --device cpu";
  if (status == cudaErrorInsufficientDriver)
    return "the NVIDIA driver is too old: it runs CUDA " + version_text(driver) + ", this build needs " +
           version_text(runtime) + "; update the driver, or use --device cpu";
  if (status == cudaErrorNoDevice)
    return "no CUDA device is visible; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu";
  return std::string("CUDA does not start: ") + cudaGetErrorString(status) +
         "; look at nvidia-smi, or use --device cpu";
}

int count_devices(std::string* problem) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  *problem = driver_problem(status == cudaSuccess ? cudaErrorNoDevice : status);
  cudaGetLastError();
  return 0;
}

CudaDeviceInfo device_info(int index) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
    cudaGetLastError();
    return {"unknown", 0, 0, 0};
  }
  return {properties.name, properties.totalGlobalMem, properties.major, properties.minor};
}

size_t mebibytes(size_t bytes) { return (bytes + (size_t(1) << 20) - 1) >> 20; }

}  // namespace

std::vector<CudaDeviceInfo> cuda_devices(std::string* problem) {
  std::vector<CudaDeviceInfo> devices;
  const int count = count_devices(problem);
  for (int i = 0; i < count; ++i) devices.push_back(device_info(i));
  return devices;
}

std::unique_ptr<Device> Device::cuda(int index) {
  std::string problem;
  const int count = count_devices(&problem);
  require(count > 0, "E_CUDA", "cuda:", index, ": ", problem);
  require(index >= 0 && index < count, "E_CUDA", "cuda:", index, ": this machine has ", count,
          count == 1 ? " CUDA device, cuda:0" : " CUDA devices, from cuda:0");
  return std::make_unique<CudaDevice>(index);
}

CudaDevice::CudaDevice(int index) : Device(Kind::Cuda, 1, Isa::Portable), index_(index) {
  const CudaDeviceInfo info = device_info(index);
  name_ = info.name;
  memory_ = info.memory;
  major_ = info.major;
  minor_ = info.minor;
  require(major_ >= kLeastMajor, "E_CUDA", describe(), ": compute capability ", kLeastMajor,
          ".0 (Ampere) or later is needed; use --device cpu");
  activate();
  CUDA_CHECK(*this, cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaDevice::~CudaDevice() {
  // at the end of a process CUDA may be gone before this object: nothing is to be given back then
  if (cudaSetDevice(index_) != cudaSuccess && alive()) dead_ = "CUDA has been unloaded";
  if (alive()) cudaStreamSynchronize(stream_);
  drop_states();
  if (alive()) cudaStreamDestroy(stream_);
  cudaGetLastError();
}

std::string CudaDevice::describe() const {
  return "cuda:" + std::to_string(index_) + " (" + name_ + ", " + std::to_string(memory_ >> 30) +
         " GiB, compute capability " + std::to_string(major_) + "." + std::to_string(minor_) + ")";
}

void CudaDevice::activate() {
  require(alive(), "E_CUDA", describe(), " stopped after an earlier error, start the process again: ", dead_);
  CUDA_CHECK(*this, cudaSetDevice(index_));
}

void CudaDevice::check(cudaError_t status, const char* statement, const char* file, int line) {
  if (status == cudaSuccess) return;
  std::ostringstream message;
  message << describe() << ": " << cudaGetErrorName(status) << " (" << cudaGetErrorString(status) << ") in "
          << statement << " at " << file << ":" << line;
  // an error that is not cleared by reading it will fail every later call
  cudaGetLastError();
  const cudaError_t after = stream_ ? cudaStreamQuery(stream_) : cudaSuccess;
  if (after != cudaSuccess && after != cudaErrorNotReady) dead_ = message.str();
  cudaGetLastError();
  throw Error("E_CUDA", message.str());
}

// ---------------------------------------------------------------------------------------------------------------------
// Memory

void* CudaDevice::allocate(size_t bytes) {
  activate();
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, std::max<size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    fail("E_MEMORY", "cannot allocate ", mebibytes(bytes), " MiB on ", describe(), ", of which ", mebibytes(available),
         " MiB are free; use a smaller chunk (--train.chunk-size, --batch-tokens), smaller pictures (--max-pixels) or "
         "--dtype bf16");
  }
  CUDA_CHECK(*this, status);
  return memory;
}

void CudaDevice::release(void* memory) noexcept {
  if (!memory || !alive()) return;
  cudaSetDevice(index_);
  cudaStreamSynchronize(stream_);  // what still runs may use it
  cudaFree(memory);
  cudaGetLastError();
}

void CudaDevice::zero(void* memory, size_t bytes) {
  if (bytes == 0) return;
  activate();
  CUDA_CHECK(*this, cudaMemsetAsync(memory, 0, bytes, stream_));
}

// Host memory is the caller's again on return, pinned or not: hence the waits.
void CudaDevice::to_device(void* to, const void* from_host, size_t bytes) {
  if (bytes == 0) return;
  activate();
  CUDA_CHECK(*this, cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, stream_));
  CUDA_CHECK(*this, cudaStreamSynchronize(stream_));
}

void CudaDevice::to_host(void* to, const void* from_device, size_t bytes) {
  if (bytes == 0) return;
  activate();
  CUDA_CHECK(*this, cudaMemcpyAsync(to, from_device, bytes, cudaMemcpyDeviceToHost, stream_));
  CUDA_CHECK(*this, cudaStreamSynchronize(stream_));
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  activate();
  CUDA_CHECK(*this, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
}

void CudaDevice::synchronize() {
  activate();
  CUDA_CHECK(*this, cudaStreamSynchronize(stream_));
}

}  // namespace vlm2vec
