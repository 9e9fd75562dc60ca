// The formulas of ops/swiglu.h, plainly, in any type of number.
#pragma once
#include <cmath>
#include <cstdint>

namespace vlm2vec {

template <typename Real>
void swiglu_forward_reference(Real* out, const Real* gate, const Real* up, int64_t size) {
  for (int64_t i = 0; i < size; ++i) out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

template <typename Real>
void swiglu_backward_reference(Real* dgate, Real* dup, const Real* dout, const Real* gate, const Real* up,
                               int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const Real s = 1 / (1 + std::exp(-gate[i]));
    dup[i] = dout[i] * gate[i] * s;
    dgate[i] = dout[i] * up[i] * s * (1 + gate[i] * (1 - s));
  }
}

}  // namespace vlm2vec
