#include "harness.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/random.h"

namespace vlm2vec::test {

namespace {

constexpr size_t kGuardBytes = 256;  // keeps CUDA's alignment
constexpr uint8_t kGuard = 0xa5, kUnwritten = 0xff;
constexpr uint64_t kSeed = 20240918;

void store(uint8_t* to, DType dtype, double number) {
  if (dtype == DType::F32) {
    const float value = float(number);
    std::memcpy(to, &value, 4);
  } else if (dtype == DType::BF16) {
    const bf16 value = to_bf16(float(number));
    std::memcpy(to, &value, 2);
  } else if (dtype == DType::I32) {
    const int32_t value = int32_t(number);
    std::memcpy(to, &value, 4);
  } else if (dtype == DType::U8) {
    *to = uint8_t(number);
  } else {
    throw Failure{text("the harness does not make tensors of ", name_of(dtype), "; use Tensors::raw")};
  }
}

double load(const uint8_t* from, DType dtype) {
  float f;
  bf16 b;
  int32_t i;
  switch (dtype) {
    case DType::F32: return std::memcpy(&f, from, 4), f;
    case DType::BF16: return std::memcpy(&b, from, 2), to_float(b);
    case DType::I32: return std::memcpy(&i, from, 4), i;
    case DType::U8: return *from;
    case DType::F16: break;
  }
  throw Failure{text("the harness does not read tensors of ", name_of(dtype))};
}

std::string place(size_t index, const Tensor* x) {
  if (!x) return text("[", index, "]");
  std::string result;
  for (int i = x->rank - 1; i >= 0; --i) {
    result = text(index % size_t(x->shape[i]), i + 1 < x->rank ? ", " : "", result);
    index /= size_t(x->shape[i]);
  }
  return "[" + result + "]";
}

void near(const std::string& name, const std::vector<double>& actual, const std::vector<double>& expected, double bound,
          const Tensor* shape) {
  expect(actual.size() == expected.size(), name, ": ", actual.size(), " numbers, expected ", expected.size());
  const double error = nmse(actual, expected);
  if (error <= bound) return;
  size_t worst = 0;
  double largest = -1;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::fabs(actual[i] - expected[i]);
    if (difference <= largest) continue;
    worst = i;
    if (std::isnan(difference)) break;
    largest = difference;
  }
  throw Failure{text(name, ": NMSE ", error, " > ", bound, "; worst at ", place(worst, shape), ": ", actual[worst],
                     ", expected ", expected[worst])};
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------

Tensors::~Tensors() {
  for (Allocation& allocation : allocations_) device_.release(allocation.memory);
}

Tensor Tensors::make(DType dtype, std::initializer_list<int64_t> shape, int64_t row_stride, const void* dense_bytes) {
  Tensor tensor(device_, nullptr, dtype, shape);
  const size_t row = size_t(tensor.row_size()) * size_of(dtype);
  if (row_stride > 0) tensor.row_stride = row_stride;
  const size_t step = size_t(tensor.row_stride) * size_of(dtype), rows = size_t(tensor.rows());
  expect(step >= row, "the harness was asked for overlapping rows");
  const size_t span = rows == 0 ? 0 : (rows - 1) * step + row;
  std::vector<uint8_t> image(span + 2 * kGuardBytes, kGuard);
  for (size_t r = 0; r < rows; ++r) {
    uint8_t* to = image.data() + kGuardBytes + r * step;
    if (dense_bytes)
      std::memcpy(to, static_cast<const uint8_t*>(dense_bytes) + r * row, row);
    else
      std::memset(to, kUnwritten, row);
  }
  void* memory = device_.allocate(image.size());
  tensor.data = static_cast<uint8_t*>(memory) + kGuardBytes;
  allocations_.push_back({memory, image.size(), tensor});
  device_.to_device(memory, image.data(), image.size());
  device_.synchronize();
  return tensor;
}

Tensor Tensors::values(DType dtype, std::initializer_list<int64_t> shape, const std::vector<double>& numbers,
                       int64_t row_stride) {
  const Tensor sizes(device_, nullptr, dtype, shape);
  expect(int64_t(numbers.size()) == sizes.size(), "the harness was given ", numbers.size(), " numbers for ", sizes);
  std::vector<uint8_t> dense(sizes.bytes());
  for (size_t i = 0; i < numbers.size(); ++i) store(dense.data() + i * size_of(dtype), dtype, numbers[i]);
  return make(dtype, shape, row_stride, dense.data());
}

Tensor Tensors::random(DType dtype, std::initializer_list<int64_t> shape, double scale, int64_t row_stride) {
  const Tensor sizes(device_, nullptr, dtype, shape);
  return values(dtype, shape, random_numbers(sizes.size(), 1000 + stream_++, scale), row_stride);
}

Tensor Tensors::indices(const std::vector<int32_t>& numbers) {
  return make(DType::I32, {int64_t(numbers.size())}, 0, numbers.data());
}

Tensor Tensors::zeros(DType dtype, std::initializer_list<int64_t> shape) {
  const std::vector<uint8_t> dense(Tensor(device_, nullptr, dtype, shape).bytes());
  return make(dtype, shape, 0, dense.data());
}

Tensor Tensors::output(DType dtype, std::initializer_list<int64_t> shape, int64_t row_stride) {
  return make(dtype, shape, row_stride, nullptr);
}

Tensor Tensors::raw(DType dtype, std::initializer_list<int64_t> shape, const void* bytes) {
  return make(dtype, shape, 0, bytes);
}

void Tensors::check_guards() const {
  device_.synchronize();
  for (size_t n = 0; n < allocations_.size(); ++n) {
    const Allocation& allocation = allocations_[n];
    const Tensor& tensor = allocation.tensor;
    std::vector<uint8_t> image(allocation.bytes);
    device_.to_host(image.data(), allocation.memory, image.size());
    const size_t row = size_t(tensor.row_size()) * size_of(tensor.dtype);
    const size_t step = size_t(tensor.row_stride) * size_of(tensor.dtype);
    const size_t end = image.size() - kGuardBytes;
    for (size_t i = 0; i < image.size(); ++i) {
      const bool element = i >= kGuardBytes && i < end && step > 0 && (i - kGuardBytes) % step < row;
      expect(element || image[i] == kGuard, "guard word touched: tensor ", n + 1, " of the case, ", tensor,
             ", at byte ", int64_t(i) - int64_t(kGuardBytes), " of ", end - kGuardBytes);
    }
  }
}

std::vector<uint8_t> bits(Tensor x) {
  x.device->synchronize();
  const size_t row = size_t(x.row_size()) * size_of(x.dtype), step = size_t(x.row_stride) * size_of(x.dtype);
  std::vector<uint8_t> result(x.bytes());
  for (size_t r = 0; r < size_t(x.rows()) && row > 0; ++r)
    x.device->to_host(result.data() + r * row, static_cast<const uint8_t*>(x.data) + r * step, row);
  x.device->synchronize();
  return result;
}

std::vector<double> read(Tensor x) {
  const std::vector<uint8_t> bytes = bits(x);
  std::vector<double> result(size_t(x.size()));
  for (size_t i = 0; i < result.size(); ++i) result[i] = load(bytes.data() + i * size_of(x.dtype), x.dtype);
  return result;
}

std::vector<double> rounded(const std::vector<double>& numbers, DType dtype) {
  std::vector<double> result(numbers.size());
  uint8_t place[8];
  for (size_t i = 0; i < numbers.size(); ++i) {
    store(place, dtype, numbers[i]);
    result[i] = load(place, dtype);
  }
  return result;
}

// ---------------------------------------------------------------------------------------------------------------------

double nmse(const std::vector<double>& actual, const std::vector<double>& expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = actual[i] - expected[i];
    error += difference * difference;
    size += expected[i] * expected[i];
  }
  return error == 0 ? 0 : error / size;
}

void expect_near(const std::string& name, Tensor actual, const std::vector<double>& expected, double bound) {
  near(name, read(actual), expected, bound, &actual);
}

void expect_near(const std::string& name, const std::vector<double>& actual, const std::vector<double>& expected,
                 double bound) {
  near(name, actual, expected, bound, nullptr);
}

void expect_close(const std::string& name, double actual, double expected, double relative, double floor) {
  const double difference = std::fabs(actual - expected), bound = relative * std::max(std::fabs(expected), floor);
  expect(difference <= bound, name, ": ", actual, ", expected ", expected, "; off by ", difference, " > ", bound);
}

double bound_for(DType dtype, const std::vector<double>& expected) {
  return dtype == DType::BF16 ? 4 * nmse(rounded(expected, DType::BF16), expected) : 1e-12;
}

void expect_same_bits(const std::string& name, const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  expect(a.size() == b.size(), name, ": ", a.size(), " and ", b.size(), " bytes");
  for (size_t i = 0; i < a.size(); ++i)
    expect(a[i] == b[i], name, ": bits differ first at byte ", i, " of ", a.size(), ": ", int(a[i]), " and ",
           int(b[i]));
}

void expect_same_bits(const std::string& name, Tensor a, Tensor b) { expect_same_bits(name, bits(a), bits(b)); }

void expect_same_bits_for_any_threads(const std::string& name, Isa isa,
                                      const std::function<std::vector<uint8_t>(Tensors&)>& f) {
  std::vector<uint8_t> first;
  for (int threads : {1, 2, 3, 5}) {
    const auto device = Device::cpu(threads, isa);
    Tensors tensors(*device);
    const std::vector<uint8_t> result = f(tensors);
    tensors.check_guards();
    expect(!result.empty(), name, ": nothing to compare");
    if (threads == 1)
      first = result;
    else
      expect_same_bits(text(name, ", 1 and ", threads, " threads"), first, result);
  }
}

void expect_error(const std::string& code, std::initializer_list<const char*> words, const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    expect(error.code == code, "error ", error.code, " (", error.what(), "), expected ", code);
    for (const char* word : words)
      expect(std::strstr(error.what(), word), "the error '", error.what(), "' does not mention '", word, "'");
    return;
  }
  throw Failure{"no error, expected " + code};
}

void expect_error(const std::string& code, const std::function<void()>& f) { expect_error(code, {}, f); }

void expect_gradient(const std::string& name, const std::function<double(const std::vector<double>&)>& loss,
                     const std::vector<double>& x, const std::vector<double>& gradient, double bound, double eps) {
  expect(x.size() == gradient.size() && !x.empty(), name, ": ", gradient.size(), " derivatives for ", x.size(),
         " inputs");
  std::vector<double> at = x;
  double error = 0, size = 0, largest = -1, expected = 0;
  size_t worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto f = [&](double step) {
      at[i] = x[i] + step;
      return loss(at);
    };
    const double slope = (8 * (f(eps) - f(-eps)) - (f(2 * eps) - f(-2 * eps))) / (12 * eps);
    at[i] = x[i];
    const double difference = std::fabs(slope - gradient[i]);
    error += difference * difference;
    size += slope * slope;
    if (difference > largest) worst = i, largest = difference, expected = slope;
  }
  const double relative = std::sqrt(error / size);
  expect(relative <= bound, name, ": gradient off by ", relative, " > ", bound, "; worst at [", worst,
         "]: ", gradient[worst], ", by differences ", expected);
}

std::vector<double> random_numbers(int64_t count, uint64_t stream, double scale) {
  std::vector<double> result(static_cast<size_t>(count));
  for (size_t i = 0; i < result.size(); ++i) result[i] = scale * random_normal(kSeed, stream, i);
  return result;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  expect(a.size() == b.size(), "dot: ", a.size(), " and ", b.size(), " numbers");
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::string test_data(const std::string& relative_path) {
  const char* folder = std::getenv("VLM2VEC_TEST_DATA");
  if (!folder || !*folder) skip("VLM2VEC_TEST_DATA is not set");
  return std::string(folder) + "/" + relative_path;
}

// ---------------------------------------------------------------------------------------------------------------------

namespace {

std::vector<Group>& groups() {
  static std::vector<Group> list;
  return list;
}

// One device of each kind for the whole run, so that oneDNN and OpenMP start once.
const std::vector<Backend>& cpu_backends() {
  static std::vector<std::unique_ptr<Device>> devices;
  static std::vector<Backend> backends;
  if (backends.empty()) {
#if defined(VLM2VEC_EMULATE_AMX)
    for (Isa isa : {Isa::Amx}) {
#else
    for (Isa isa : {Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx}) {
#endif
      if (isa > supported_isa()) break;
      devices.push_back(Device::cpu(2, isa));
      backends.push_back({name_of(isa), devices.back().get(), ""});
    }
    if (backends.empty()) backends.push_back({"amx", nullptr, "emulated tiles need a machine with AVX-512"});
  }
  return backends;
}

const Backend& cuda_backend() {
  static std::unique_ptr<Device> device;
  static Backend backend;
  if (backend.label.empty()) {
    backend.label = "cuda";
    try {
      device = Device::cuda(0);
      backend.device = device.get();
    } catch (const Error& error) {
      backend.reason = error.what();
    }
  }
  return backend;
}

}  // namespace

Cases::Cases(const char* group, std::initializer_list<Case> cases) { groups().push_back({group, cases}); }

const std::vector<Group>& all_groups() {
  std::sort(groups().begin(), groups().end(), [](const Group& a, const Group& b) { return a.name < b.name; });
  return groups();
}

void for_each_backend(Backends backends, const std::function<void(const Backend&)>& f) {
  if (backends == Backends::Host) f(Backend{});
  if (backends == Backends::Cpu || backends == Backends::CpuAndCuda)
    for (const Backend& backend : cpu_backends()) f(backend);
  if (backends == Backends::Cuda || backends == Backends::CpuAndCuda) f(cuda_backend());
}

void run_case(const Case& c, const Backend& backend) {
  try {
    if (c.backends == Backends::Host) return c.on_host();
    if (!backend.device) skip(backend.reason);
    Tensors tensors(*backend.device);
    c.on_device(tensors);
    tensors.check_guards();
  } catch (const Error& error) {
    throw Failure{text("unexpected error ", error.code, ": ", error.what())};
  } catch (const std::exception& error) {
    throw Failure{text("unexpected exception: ", error.what())};
  }
}

}  // namespace vlm2vec::test
