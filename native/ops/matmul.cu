// The products of a linear layer on CUDA, by cuBLASLt from the weight as it lies; dbias by ops/cuda_column_sum.h.
#include "ops/cuda_column_sum.h"
#include "ops/cuda_gemm.h"
#include "ops/matmul.h"

namespace vlm2vec::cuda {

namespace {

template <typename T>
struct Element {
  const T* data;
  int64_t columns;
  __device__ double operator()(int64_t row, int64_t column) const { return to_float(data[row * columns + column]); }
};

}  // namespace

// Y = X · Wᵀ + bias
void matmul_forward(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate) {
  gemm({out, x, weight.values(), false, true, 1, accumulate ? 1.0f : 0.0f, bias});
}

// dX = dY · W
void matmul_backward_x(Tensor dx, Tensor dout, const Weight& weight, bool accumulate) {
  gemm({dx, dout, weight.values(), false, false, 1, accumulate ? 1.0f : 0.0f});
}

// dW += dYᵀ · X
void matmul_backward_weight(Tensor dweight, Tensor dbias, Tensor dout, Tensor x) {
  gemm({dweight, dout, x, true, false, 1, 1});
  if (!dbias) return;
  with_type(dout.dtype, [&](auto zero) {
    using T = decltype(zero);
    column_sum(cuda_device(dout), dbias.as<float>(), Element<T>{dout.as<T>(), dout.shape[1]}, dout.rows(),
               dout.shape[1]);
  });
}

}  // namespace vlm2vec::cuda
