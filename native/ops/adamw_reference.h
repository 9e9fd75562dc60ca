// The formulas of ops/adamw.h, plainly, in any type of number.
#pragma once
#include <cmath>

#include "ops/adamw.h"

namespace vlm2vec {

template <typename Real>
void adamw_reference(Real* parameter, Real* m, Real* v, const Real* gradient, int64_t size, const AdamW& options) {
  const Real b1 = Real(options.beta1), b2 = Real(options.beta2), lr = Real(options.learning_rate);
  const Real c1 = 1 - std::pow(b1, Real(options.step)), c2 = 1 - std::pow(b2, Real(options.step));
  for (int64_t i = 0; i < size; ++i) {
    const Real g = Real(options.gradient_scale) * gradient[i];
    parameter[i] -= lr * Real(options.weight_decay) * parameter[i];
    m[i] = b1 * m[i] + (1 - b1) * g;
    v[i] = b2 * v[i] + (1 - b2) * g * g;
    parameter[i] -= lr / c1 * m[i] / (std::sqrt(v[i]) / std::sqrt(c2) + Real(options.eps));
  }
}

}  // namespace vlm2vec
