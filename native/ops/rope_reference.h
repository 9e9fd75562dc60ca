// The formulas of ops/rope.h, plainly, in any type of number; dense rows.
#pragma once
#include <cmath>
#include <cstdint>

namespace vlm2vec {

// Rows [first, last) of cos and sin (rows, half). positions (axes, rows), axis (half), inverse_frequency (half). The
// angle is rounded to f32.
template <typename Real>
void rope_table_reference(Real* cos, Real* sin, const int32_t* positions, const int32_t* axis,
                          const float* inverse_frequency, int64_t rows, int64_t half, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; ++t)
    for (int64_t j = 0; j < half; ++j) {
      const float angle = float(positions[axis[j] * rows + t]) * inverse_frequency[j];
      cos[t * half + j] = std::cos(Real(angle));
      sin[t * half + j] = std::sin(Real(angle));
    }
}

template <typename Real>
void rope_apply_reference(Real* x, const Real* cos, const Real* sin, int64_t rows, int64_t heads, int64_t half,
                          bool inverse) {
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t j = 0; j < half; ++j) {
        Real* const head = x + (t * heads + h) * half * 2;
        const Real a = head[j], b = head[j + half], c = cos[t * half + j];
        const Real s = inverse ? -sin[t * half + j] : sin[t * half + j];
        head[j] = a * c - b * s;
        head[j + half] = b * c + a * s;
      }
}

}  // namespace vlm2vec
