// The formulas of ops/tiles.h, plainly: one value of the overview in any type of number.
#pragma once
#include <algorithm>
#include <cmath>

#include "ops/patchify_reference.h"

namespace vlm2vec {

// Keys' cubic with a = -0.75 at distances 1 + t, t, 1 - t, 2 - t.
template <typename Real>
void cubic_weights(Real* weights, Real t) {
  const Real a = -0.75;
  const auto near = [&](Real x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  const auto far = [&](Real x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  weights[0] = far(t + 1);
  weights[1] = near(t);
  weights[2] = near(1 - t);
  weights[3] = far(2 - t);
}

// The taps of output i of an axis that is shrunk from `size` to `to`: places, the borders repeated, and weights.
template <typename Real>
void cubic_taps(int* places, Real* weights, int i, int size, int to) {
  const Real at = Real(size) / Real(to) * (Real(i) + Real(0.5)) - Real(0.5);
  const int first = int(std::floor(at));
  cubic_weights(weights, at - Real(first));
  for (int k = 0; k < 4; ++k) places[k] = std::clamp(first + k - 1, 0, size - 1);
}

// Channel c of row y, column x of the overview.
template <typename Real>
Real overview_reference(const uint8_t* canvas, int width, int height, int tile, const PatchLayout& layout, int c, int y,
                        int x) {
  int rows[4], columns[4];
  Real row_weights[4], column_weights[4];
  cubic_taps(rows, row_weights, y, height, tile);
  cubic_taps(columns, column_weights, x, width, tile);
  Real sum = 0;
  for (int k = 0; k < 4; ++k)
    for (int l = 0; l < 4; ++l) {
      const uint8_t pixel = canvas[(int64_t(rows[k]) * width + columns[l]) * 3 + c];
      sum += row_weights[k] * column_weights[l] * Real(patch_value(pixel, layout.mean[c], layout.std[c]));
    }
  return sum;
}

}  // namespace vlm2vec
