// The formulas of ops/rmsnorm.h, plainly, in any type of number; dense rows.
#pragma once
#include <cmath>
#include <cstdint>

namespace vlm2vec {

template <typename Real>
void rmsnorm_forward_reference(Real* out, Real* rstd, const Real* x, const Real* weight, Real eps, int64_t rows,
                               int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const Real* x_r = x + r * columns;
    Real squares = 0;
    for (int64_t c = 0; c < columns; ++c) squares += x_r[c] * x_r[c];
    rstd[r] = 1 / std::sqrt(squares / Real(columns) + eps);
    for (int64_t c = 0; c < columns; ++c) out[r * columns + c] = weight[c] * (x_r[c] * rstd[r]);
  }
}

// Adds to dx and dweight.
template <typename Real>
void rmsnorm_backward_reference(Real* dx, Real* dweight, const Real* dout, const Real* x, const Real* weight,
                                const Real* rstd, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const Real *dout_r = dout + r * columns, *x_r = x + r * columns;
    Real mean = 0;  // of g * x
    for (int64_t c = 0; c < columns; ++c) mean += dout_r[c] * weight[c] * x_r[c] / Real(columns);
    for (int64_t c = 0; c < columns; ++c) {
      dx[r * columns + c] += rstd[r] * (dout_r[c] * weight[c] - x_r[c] * rstd[r] * rstd[r] * mean);
      dweight[c] += dout_r[c] * x_r[c] * rstd[r];
    }
  }
}

}  // namespace vlm2vec
