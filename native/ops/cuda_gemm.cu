#include <algorithm>
#include <array>
#include <map>
#include <type_traits>

#include "core/cuda_blas.h"
#include "core/cuda_kernel.h"
#include "ops/cuda_gemm.h"
#include "ops/workspace.h"

namespace vlm2vec::cuda {

namespace {

constexpr size_t kMostPlans = 1024;  // the numbers of tokens in a chunk vary without end
constexpr uint32_t kBiasAlignment = 16;

cudaDataType_t cuda_type(DType dtype) { return dtype == DType::BF16 ? CUDA_R_16BF : CUDA_R_32F; }

// The largest power of two that divides an address, up to what cuBLASLt asks for: views may begin anywhere.
uint32_t alignment(const void* address) {
  uint32_t bytes = 256;
  while (bytes > 1 && reinterpret_cast<uintptr_t>(address) % bytes != 0) bytes /= 2;
  return bytes;
}

struct Sizes {
  int64_t m, n, k;
};

Sizes sizes_of(const Gemm& p) { return {p.out.rows(), p.out.shape[1], p.transpose_a ? p.a.rows() : p.a.shape[1]}; }

// What the choice of an algorithm depends on.
using Key = std::array<int64_t, 14>;

Key key_of(const Gemm& p, bool fused_bias) {
  const Sizes s = sizes_of(p);
  return {s.m,
          s.n,
          s.k,
          p.transpose_a,
          p.transpose_b,
          p.out.row_stride,
          p.a.row_stride,
          p.b.row_stride,
          int64_t(p.out.dtype),
          int64_t(p.a.dtype),
          fused_bias,
          alignment(p.out.data),
          alignment(p.a.data),
          alignment(p.b.data)};
}

// ---------------------------------------------------------------------------------------------------------------------
// A product's descriptors and the algorithm chosen for it. cuBLASLt is column-major: a row-major matrix is its
// transpose there, and outᵀ = op(b)ᵀ · op(a)ᵀ, so that b is its first factor and a its second, neither of them moved.
class Plan {
 public:
  // fused_bias: null where cuBLASLt is not to add one
  Plan(CudaBlas& blas, const Gemm& p, const void* fused_bias) : blas_(blas), functions_(blas.functions()) {
    const Sizes s = sizes_of(p);
    blas::ProductDescription product = nullptr;
    CUBLAS_CHECK(blas_, functions_.MatmulDescCreate(&product, blas::kComputeF32, CUDA_R_32F));
    product_.reset(product);
    set(blas::kTransposeA, p.transpose_b ? blas::kTransposed : blas::kAsItLies);
    set(blas::kTransposeB, p.transpose_a ? blas::kTransposed : blas::kAsItLies);
    if (fused_bias) {
      set(blas::kEpilogue, blas::kEpilogueBias);
      set(blas::kBiasPointer, fused_bias);
    }
    first_ = layout(p.b, p.transpose_b ? s.k : s.n, p.transpose_b ? s.n : s.k);
    second_ = layout(p.a, p.transpose_a ? s.m : s.k, p.transpose_a ? s.k : s.m);
    out_ = layout(p.out, s.n, s.m);
    choose(p);
  }

  // False where cuBLASLt has no algorithm, as for the bias of some narrow shapes.
  bool supported() const { return supported_; }

  void run(const Gemm& p, const void* bias) {
    if (bias) set(blas::kBiasPointer, bias);
    CUBLAS_CHECK(blas_,
                 functions_.Matmul(blas_.handle(), product_.get(), &p.alpha, p.b.data, first_.get(), p.a.data,
                                   second_.get(), &p.beta, p.out.data, out_.get(), p.out.data, out_.get(), &algorithm_,
                                   blas_.workspace(), CudaBlas::kWorkspaceBytes, cuda_device(p.out).stream()));
  }

 private:
  template <typename Handle>
  using Owner = std::unique_ptr<std::remove_pointer_t<Handle>, blas::Status (*)(Handle)>;
  using Layout = Owner<blas::Layout>;

  template <typename T>
  void set(blas::ProductAttribute attribute, const T& value) {
    CUBLAS_CHECK(blas_, functions_.MatmulDescSetAttribute(product_.get(), attribute, &value, sizeof(value)));
  }

  // of `rows` by `columns` as cuBLASLt sees it
  Layout layout(const Tensor& x, int64_t rows, int64_t columns) {
    blas::Layout result = nullptr;
    CUBLAS_CHECK(blas_, functions_.MatrixLayoutCreate(&result, cuda_type(x.dtype), uint64_t(rows), uint64_t(columns),
                                                      std::max(x.row_stride, rows)));
    return Layout(result, functions_.MatrixLayoutDestroy);
  }

  void choose(const Gemm& p) {
    blas::Preference handle = nullptr;
    CUBLAS_CHECK(blas_, functions_.MatmulPreferenceCreate(&handle));
    const Owner<blas::Preference> preference(handle, functions_.MatmulPreferenceDestroy);
    const auto prefer = [&](blas::PreferenceAttribute attribute, auto value) {
      CUBLAS_CHECK(blas_, functions_.MatmulPreferenceSetAttribute(handle, attribute, &value, sizeof(value)));
    };
    prefer(blas::kMaxWorkspaceBytes, uint64_t(CudaBlas::kWorkspaceBytes));
    // of the split sums only the one in f32 and in a fixed order
    prefer(blas::kReductionSchemeMask, uint32_t(blas::kReduceInComputeType));
    prefer(blas::kMinAlignmentA, alignment(p.b.data));
    prefer(blas::kMinAlignmentB, alignment(p.a.data));
    prefer(blas::kMinAlignmentC, alignment(p.out.data));
    prefer(blas::kMinAlignmentD, alignment(p.out.data));
    blas::Choice best = {};
    int count = 0;
    const blas::Status status = functions_.MatmulAlgoGetHeuristic(
        blas_.handle(), product_.get(), first_.get(), second_.get(), out_.get(), out_.get(), handle, 1, &best, &count);
    if (status != blas::kNotSupported) CUBLAS_CHECK(blas_, status);
    supported_ = status == blas::kSuccess && count > 0 && best.state == blas::kSuccess;
    algorithm_ = best.algorithm;
  }

  CudaBlas& blas_;
  const blas::Functions& functions_;
  Owner<blas::ProductDescription> product_{nullptr, functions_.MatmulDescDestroy};
  Layout first_{nullptr, functions_.MatrixLayoutDestroy}, second_{nullptr, functions_.MatrixLayoutDestroy},
      out_{nullptr, functions_.MatrixLayoutDestroy};
  blas::Algorithm algorithm_ = {};
  bool supported_ = false;
};

// The plans of a device by shape: one of its states.
class Plans {
 public:
  explicit Plans(Device& device) : blas_(device.state<CudaBlas>()) {}

  Plan& find(const Gemm& p, const void* fused_bias) {
    const Key key = key_of(p, fused_bias != nullptr);
    const auto found = plans_.find(key);
    if (found != plans_.end()) return *found->second;
    if (plans_.size() >= kMostPlans) plans_.clear();
    return *(plans_[key] = std::make_unique<Plan>(blas_, p, fused_bias));
  }

 private:
  CudaBlas& blas_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Bias

template <typename T>
__global__ void convert_kernel(T* to, const float* from, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) store(to + i, from[i]);
}

// out (M, N) = beta out + bias, for products whose bias cuBLASLt does not add itself
template <typename T>
__global__ void add_bias_kernel(T* out, int64_t stride, const float* bias, int64_t rows, int64_t columns, float beta) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * columns) return;
  T* place = out + i / columns * stride + i % columns;
  store(place, bias[i % columns] + (beta == 0 ? 0 : beta * to_float(*place)));
}

constexpr int kThreads = 256;

dim3 blocks(int64_t count) { return dim3(unsigned(divide_up(count, kThreads))); }

// cuBLASLt wants a bias of the output's type, aligned.
const void* bias_for(const Gemm& p) {
  if (p.out.dtype == DType::F32 && alignment(p.bias.data) >= kBiasAlignment) return p.bias.data;
  CudaDevice& device = cuda_device(p.out);
  const int64_t count = p.bias.size();
  void* copy = device.state<Workspace>().reserve(size_t(count) * size_of(p.out.dtype));
  with_type(p.out.dtype, [&](auto zero) {
    using T = decltype(zero);
    device.launch(convert_kernel<T>, blocks(count), kThreads, 0, static_cast<T*>(copy), p.bias.as<float>(), count);
  });
  return copy;
}

void add_bias(const Gemm& p) {
  with_type(p.out.dtype, [&](auto zero) {
    using T = decltype(zero);
    cuda_device(p.out).launch(add_bias_kernel<T>, blocks(p.out.size()), kThreads, 0, p.out.as<T>(), p.out.row_stride,
                              p.bias.as<float>(), p.out.rows(), p.out.shape[1], p.beta);
  });
}

}  // namespace

void gemm(const Gemm& product) {
  Gemm p = product;
  const Sizes s = sizes_of(p);
  if (s.m == 0 || s.n == 0 || s.k == 0) return;
  auto& plans = p.out.device->state<Plans>();
  if (p.bias) {
    const void* bias = bias_for(p);
    Plan& fused = plans.find(p, bias);
    if (fused.supported()) return fused.run(p, bias);
    add_bias(p);
    p.beta = 1;
  }
  Plan& plan = plans.find(p, nullptr);
  require(plan.supported(), "E_CUDA", p.out.device->describe(), ": cuBLASLt has no algorithm for out ", p.out, " of a ",
          p.a, " and b ", p.b);
  plan.run(p, nullptr);
}

}  // namespace vlm2vec::cuda
