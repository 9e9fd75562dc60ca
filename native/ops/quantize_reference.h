// The plain formulas of quantize.h; what the kernels are tested against.
#pragma once
#include <cmath>
#include <vector>

#include "ops/quantize.h"

namespace vlm2vec {

// W as it is after quantization: out (N, K).
inline void quantized_values_reference(double* out, const float* w, Quantization kind, int64_t n, int64_t k) {
  const int64_t block = kind == Quantization::Nf4 ? kNf4Block : k;
  for (int64_t first = 0; first < n * k; first += block) {
    const int64_t end = first + block < n * k ? first + block : n * k;
    float largest = 0;
    for (int64_t i = first; i < end; ++i) largest = std::fmax(largest, std::fabs(w[i]));
    for (int64_t i = first; i < end; ++i) {
      if (largest == 0) {
        out[i] = 0;
      } else if (kind == Quantization::Int8) {
        out[i] = double(std::round(w[i] * (127 / largest))) * double(largest / 127);
      } else {
        const double x = double(w[i] * (1 / largest));
        double best = kNf4Levels[0];
        for (float level : kNf4Levels)
          if (std::fabs(x - double(level)) < std::fabs(x - best)) best = level;
        out[i] = best * double(largest);
      }
    }
  }
}

// x (M, K) as a product in whole numbers sees it: each run of `run` numbers of a row in 8 bits.
inline void quantized_rows_reference(double* out, const float* x, int64_t m, int64_t k, int64_t run) {
  for (int64_t row = 0; row < m; ++row)
    for (int64_t first = 0; first < k; first += run) {
      const int64_t at = row * k + first, count = first + run < k ? run : k - first;
      quantized_values_reference(out + at, x + at, Quantization::Int8, 1, count);
    }
}

}  // namespace vlm2vec
