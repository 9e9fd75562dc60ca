// The formulas of ops/dora.h, plainly, in any type of number.
#pragma once
#include <cmath>
#include <cstdint>

namespace vlm2vec {

template <typename Real>
void dora_norm_reference(Real* norm, const Real* w, const Real* a, const Real* b, Real s, int64_t rows, int64_t columns,
                         int64_t rank) {
  for (int64_t r = 0; r < rows; ++r) {
    Real squares = 0;
    for (int64_t c = 0; c < columns; ++c) {
      Real v = w[r * columns + c];
      for (int64_t k = 0; k < rank; ++k) v += s * b[r * rank + k] * a[k * columns + c];
      squares += v * v;
    }
    norm[r] = std::sqrt(squares);
  }
}

// bias may be null.
template <typename Real>
void row_scale_forward_reference(Real* out, const Real* z, const Real* c, const Real* bias, int64_t rows,
                                 int64_t columns) {
  for (int64_t i = 0; i < rows * columns; ++i) out[i] = c[i % columns] * z[i] + (bias ? bias[i % columns] : 0);
}

// Adds to dm.
template <typename Real>
void row_scale_backward_reference(Real* dz, Real* dm, const Real* dout, const Real* z, const Real* c, const Real* norm,
                                  int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows * columns; ++i) {
    dm[i % columns] += dout[i] * z[i] / norm[i % columns];
    dz[i] = c[i % columns] * dout[i];
  }
}

}  // namespace vlm2vec
