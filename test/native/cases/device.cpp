#include "core/device.h"

#include "harness.h"

namespace vlm2vec::test {

namespace {

void check_copies(Tensors& t) {
  const Tensor a = t.random(DType::F32, {7, 11}), b = t.output(DType::F32, {7, 11}), c = t.output(DType::BF16, {5});
  copy(b, a);
  expect_same_bits("copied", b, a);
  copy(b.slice(2, 3), a.slice(4, 3));
  expect_same_bits("copied rows", b.slice(2, 3), a.slice(4, 3));
  expect_same_bits("the row behind them", b.slice(5, 1), a.slice(5, 1));
  zero(c);
  expect_near("zeroed", c, std::vector<double>(5), 0);
  expect_error("E_SHAPE", {"copy", "(7, 11)", "(5)"}, [&] { copy(c, a); });
}

void check_too_large(Tensors& t) {
  expect_error("E_MEMORY", {"1073741824 MiB", "cuda:0"}, [&] { t.device().allocate(size_t(1) << 50); });
  check_copies(t);  // the device goes on
}

void check_devices() {
  std::string problem;
  const std::vector<CudaDeviceInfo> devices = cuda_devices(&problem);
  expect(devices.empty() != problem.empty(), devices.size(), " devices, and the problem '", problem, "'");
  for (const CudaDeviceInfo& device : devices)
    expect(!device.name.empty() && device.memory > 0 && device.major > 0,
           "a device without name, memory or capability");
}

const Cases cases("device",
                  {
                      {"copies and zeroes whole tensors and rows", Backends::CpuAndCuda, check_copies},
                      {"an allocation that cannot be is refused with its size", Backends::Cuda, check_too_large},
                      {"lists CUDA devices, or says why there are none", check_devices},
                      {"refuses a CUDA device that is not there",
                       [] { expect_error("E_CUDA", {"cuda:1000"}, [] { Device::cuda(1000); }); }},
                  });

}  // namespace

}  // namespace vlm2vec::test
