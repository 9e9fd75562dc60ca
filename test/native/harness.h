// The native test runner: a table of cases, tensors with guard words, and checks that fail with the numbers.
//
//   static const Cases cases("rmsnorm", {
//       {"refuses a weight of another width", [] {                      // no tensors: runs once, on the host
//          expect_error("E_SHAPE", {"rmsnorm", "weight"}, [] { ... });
//        }},
//       {"forward agrees with the reference", Backends::CpuAndCuda, [](Tensors& t) {
//          const Tensor x = t.random(DType::F32, {5, 33}), out = t.output(DType::F32, {5, 33});
//          rmsnorm_forward(out, ..., x, ...);                           // on t.device()
//          expect_near("out", out, expected, 1e-12);                    // NMSE against std::vector<double>
//        }},
//   });
//
// A case with Tensors is run once for every instruction set of this machine (Backends::Cpu) and, for ops that have a
// .cu, on CUDA device 0 (Backends::CpuAndCuda); where there is none that run counts as skipped, with the reason. Each
// run counts by itself: "rmsnorm: forward agrees with the reference [avx2]". A case ends at its first failed check.
// After it the guard words of all its tensors are checked. Outputs hold NaN until they are written.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/device.h"

namespace vlm2vec::test {

// ---------------------------------------------------------------------------------------------------------------------
// Tensors of one case on one device: guard words around each, and in the gaps between strided rows.
class Tensors {
 public:
  explicit Tensors(Device& device) : device_(device) {}
  ~Tensors();
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  Device& device() const { return device_; }

  // Standard normal times `scale`: the same numbers in every run, others for each call of a case. f32 or bf16.
  Tensor random(DType dtype, std::initializer_list<int64_t> shape, double scale = 1, int64_t row_stride = 0);
  // These numbers, rounded to the type: f32, bf16, i32 or u8.
  Tensor values(DType dtype, std::initializer_list<int64_t> shape, const std::vector<double>& numbers,
                int64_t row_stride = 0);
  Tensor indices(const std::vector<int32_t>& numbers);  // (n) i32
  Tensor zeros(DType dtype, std::initializer_list<int64_t> shape);
  // To be written: every byte is 0xff, which is NaN in f32 and bf16, -1 in i32.
  Tensor output(DType dtype, std::initializer_list<int64_t> shape, int64_t row_stride = 0);
  // These bytes, dense.
  Tensor raw(DType dtype, std::initializer_list<int64_t> shape, const void* bytes);

  // Fails, naming the tensor by its place among those made, if a byte outside of a tensor's elements has changed.
  void check_guards() const;

 private:
  struct Allocation {
    void* memory;
    size_t bytes;
    Tensor tensor;
  };
  Tensor make(DType dtype, std::initializer_list<int64_t> shape, int64_t row_stride, const void* dense_bytes);
  Device& device_;
  std::vector<Allocation> allocations_;
  uint64_t stream_ = 0;
};

// The elements in order of their indices, whatever the stride; any type, from any device.
std::vector<double> read(Tensor x);
std::vector<uint8_t> bits(Tensor x);
// Rounded to a type and widened again: what a reference must start from if its inputs are to be the kernel's.
std::vector<double> rounded(const std::vector<double>& numbers, DType dtype);

// ---------------------------------------------------------------------------------------------------------------------
// Checks
struct Failure {
  std::string message;
};
struct Skip {
  std::string reason;
};

template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  out.precision(9);
  (out << ... << parts);
  return out.str();
}

template <typename... Parts>
void expect(bool ok, const Parts&... parts) {
  if (!ok) throw Failure{text(parts...)};
}

// Leaves the case, which then counts as skipped.
template <typename... Parts>
[[noreturn]] void skip(const Parts&... parts) {
  throw Skip{text(parts...)};
}

// sum (actual - expected)^2 / sum expected^2; 0 if both are all zero; NaN where either holds one.
double nmse(const std::vector<double>& actual, const std::vector<double>& expected);
// Fails if the NMSE is not <= bound, with the worst element and its place.
void expect_near(const std::string& name, Tensor actual, const std::vector<double>& expected, double bound);
void expect_near(const std::string& name, const std::vector<double>& actual, const std::vector<double>& expected,
                 double bound);
// |actual - expected| <= bound * max(|expected|, floor).
void expect_close(const std::string& name, double actual, double expected, double relative, double floor = 0);
// The bound that a kernel has to keep for this type: f32 1e-12; bf16 four times the NMSE of the rounded reference.
double bound_for(DType dtype, const std::vector<double>& expected);

void expect_same_bits(const std::string& name, const std::vector<uint8_t>& a, const std::vector<uint8_t>& b);
void expect_same_bits(const std::string& name, Tensor a, Tensor b);
// Runs f on CPU devices of 1, 2, 3 and 5 threads; what it returns (bits of its outputs) must not differ.
void expect_same_bits_for_any_threads(const std::string& name, Isa isa,
                                      const std::function<std::vector<uint8_t>(Tensors&)>& f);

// f must throw vlm2vec::Error of this code, whose message holds all the words.
void expect_error(const std::string& code, std::initializer_list<const char*> words, const std::function<void()>& f);
void expect_error(const std::string& code, const std::function<void()>& f);

// The analytic gradient of `loss` at `x` against 4-point differences of step eps: |difference| <= bound |gradient|.
void expect_gradient(const std::string& name, const std::function<double(const std::vector<double>&)>& loss,
                     const std::vector<double>& x, const std::vector<double>& gradient, double bound = 1e-6,
                     double eps = 1e-3);

// Deterministic standard normal numbers in double, for references.
std::vector<double> random_numbers(int64_t count, uint64_t stream, double scale = 1);
double dot(const std::vector<double>& a, const std::vector<double>& b);

// A path below $VLM2VEC_TEST_DATA; skips the case where that is not set.
std::string test_data(const std::string& relative_path);

// ---------------------------------------------------------------------------------------------------------------------
// The table of cases
enum class Backends { Host, Cpu, CpuAndCuda, Cuda };

struct Case {
  Case(const char* name, void (*run)()) : name(name), backends(Backends::Host), on_host(run) {}
  Case(const char* name, Backends backends, void (*run)(Tensors&)) : name(name), backends(backends), on_device(run) {}
  const char* name;
  Backends backends;
  void (*on_host)() = nullptr;
  void (*on_device)(Tensors&) = nullptr;
};

// Registers the cases of one op or file.
struct Cases {
  Cases(const char* group, std::initializer_list<Case> cases);
};

struct Group {
  std::string name;
  std::vector<Case> cases;
};
const std::vector<Group>& all_groups();

// A place to run a case: the host, one instruction set, or CUDA. A null device says why not.
struct Backend {
  std::string label;  // "" for the host
  Device* device = nullptr;
  std::string reason;
};
// Calls f for every backend that the case is to run on.
void for_each_backend(Backends backends, const std::function<void(const Backend&)>& f);
// Runs a case and checks the guards. Throws Failure or Skip.
void run_case(const Case& c, const Backend& backend);

}  // namespace vlm2vec::test
