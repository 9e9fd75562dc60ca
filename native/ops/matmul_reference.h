// The plain formulas of matmul.h, for any number type; what the kernels are tested against.
#pragma once
#include <cstdint>

namespace vlm2vec {

// out (M, N) = x (M, K) · wᵀ + bias, w (N, K); bias may be null
template <typename Number>
void matmul_forward_reference(Number* out, const Number* x, const Number* w, const Number* bias, int64_t M, int64_t N,
                              int64_t K) {
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < N; ++n) {
      Number sum = bias ? bias[n] : Number(0);
      for (int64_t k = 0; k < K; ++k) sum += x[m * K + k] * w[n * K + k];
      out[m * N + n] = sum;
    }
}

// dx (M, K) = dout (M, N) · w
template <typename Number>
void matmul_backward_x_reference(Number* dx, const Number* dout, const Number* w, int64_t M, int64_t N, int64_t K) {
  for (int64_t m = 0; m < M; ++m)
    for (int64_t k = 0; k < K; ++k) {
      Number sum = 0;
      for (int64_t n = 0; n < N; ++n) sum += dout[m * N + n] * w[n * K + k];
      dx[m * K + k] = sum;
    }
}

// dw (N, K) += doutᵀ · x;  dbias (N) += sum over rows of dout, or null
template <typename Number>
void matmul_backward_weight_reference(Number* dw, Number* dbias, const Number* dout, const Number* x, int64_t M,
                                      int64_t N, int64_t K) {
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t k = 0; k < K; ++k) dw[n * K + k] += dout[m * N + n] * x[m * K + k];
      if (dbias) dbias[n] += dout[m * N + n];
    }
}

}  // namespace vlm2vec
