// The formulas of ops/gelu.h, plainly, in any type of number.
#pragma once
#include <cmath>
#include <cstdint>

#include "ops/gelu.h"

namespace vlm2vec {

template <typename Real>
Real gelu_reference(Real x, Activation kind) {
  const Real pi = std::acos(Real(-1));
  switch (kind) {
    case Activation::GeluErf: return x / 2 * (1 + std::erf(x / std::sqrt(Real(2))));
    case Activation::GeluTanh: return x / 2 * (1 + std::tanh(std::sqrt(2 / pi) * (x + Real(0.044715) * x * x * x)));
    case Activation::GeluQuick: return x / (1 + std::exp(Real(-1.702) * x));
    case Activation::Silu: return x / (1 + std::exp(-x));
  }
  return 0;
}

template <typename Real>
Real gelu_derivative_reference(Real x, Activation kind) {
  const Real pi = std::acos(Real(-1));
  if (kind == Activation::GeluErf)
    return (1 + std::erf(x / std::sqrt(Real(2)))) / 2 + x * std::exp(-x * x / 2) / std::sqrt(2 * pi);
  if (kind == Activation::GeluTanh) {
    const Real k = std::sqrt(2 / pi), t = std::tanh(k * (x + Real(0.044715) * x * x * x));
    return (1 + t) / 2 + x / 2 * (1 - t * t) * k * (1 + 3 * Real(0.044715) * x * x);
  }
  const Real slope = kind == Activation::GeluQuick ? Real(1.702) : Real(1), s = 1 / (1 + std::exp(-slope * x));
  return s * (1 + slope * x * (1 - s));
}

}  // namespace vlm2vec
