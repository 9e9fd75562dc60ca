// The formulas of ops/layernorm.h, plainly, in any type of number; dense rows.
#pragma once
#include <cmath>
#include <cstdint>

namespace vlm2vec {

template <typename Real>
void layernorm_forward_reference(Real* out, Real* mean, Real* rstd, const Real* x, const Real* weight, const Real* bias,
                                 Real eps, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const Real* x_r = x + r * columns;
    Real total = 0, squares = 0;
    for (int64_t c = 0; c < columns; ++c) total += x_r[c];
    mean[r] = total / Real(columns);
    for (int64_t c = 0; c < columns; ++c) squares += (x_r[c] - mean[r]) * (x_r[c] - mean[r]);
    rstd[r] = 1 / std::sqrt(squares / Real(columns) + eps);
    for (int64_t c = 0; c < columns; ++c) out[r * columns + c] = (x_r[c] - mean[r]) * rstd[r] * weight[c] + bias[c];
  }
}

// Adds to dx, dweight and dbias.
template <typename Real>
void layernorm_backward_reference(Real* dx, Real* dweight, Real* dbias, const Real* dout, const Real* x,
                                  const Real* weight, const Real* mean, const Real* rstd, int64_t rows,
                                  int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const Real *dout_r = dout + r * columns, *x_r = x + r * columns;
    Real g_mean = 0, along = 0;  // means of g and of g * xhat
    for (int64_t c = 0; c < columns; ++c) {
      const Real g = dout_r[c] * weight[c], xhat = (x_r[c] - mean[r]) * rstd[r];
      g_mean += g / Real(columns);
      along += g * xhat / Real(columns);
      dweight[c] += dout_r[c] * xhat;
      dbias[c] += dout_r[c];
    }
    for (int64_t c = 0; c < columns; ++c)
      dx[r * columns + c] += rstd[r] * (dout_r[c] * weight[c] - g_mean - (x_r[c] - mean[r]) * rstd[r] * along);
  }
}

}  // namespace vlm2vec
