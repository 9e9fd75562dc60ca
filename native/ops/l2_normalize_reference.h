// The formulas of ops/l2_normalize.h, plainly, in any type of number; sums in f64.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace vlm2vec {

template <typename Real>
void l2_normalize_forward_reference(Real* out, Real* norm, const Real* x, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < columns; ++c) squares += double(x[r * columns + c]) * double(x[r * columns + c]);
    norm[r] = std::max(Real(std::sqrt(squares)), Real(1e-12));
    for (int64_t c = 0; c < columns; ++c) out[r * columns + c] = x[r * columns + c] / norm[r];
  }
}

template <typename Real>
void l2_normalize_backward_reference(Real* dx, const Real* dout, const Real* out, const Real* norm, int64_t rows,
                                     int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    double along = 0;
    for (int64_t c = 0; c < columns; ++c) along += double(dout[r * columns + c]) * double(out[r * columns + c]);
    for (int64_t c = 0; c < columns; ++c)
      dx[r * columns + c] = (dout[r * columns + c] - out[r * columns + c] * Real(along)) / norm[r];
  }
}

}  // namespace vlm2vec
