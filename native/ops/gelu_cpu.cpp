#include "ops/gelu_kernels.h"
#include "ops/loops.h"

namespace vlm2vec::VLM2VEC_ISA {

constexpr float kSqrtHalf = 0.707106781f, kSqrtTwoOverPi = 0.797884561f, kDensityAtZero = 0.398942280f;
constexpr float kCubic = 0.044715f, kQuick = 1.702f;

template <Activation kind>
static inline Floats value(Floats x) {
  if constexpr (kind == Activation::GeluErf)
    return 0.5f * x * (1.0f + erf(x * kSqrtHalf));
  else if constexpr (kind == Activation::GeluTanh)
    return 0.5f * x * (1.0f + tanh(kSqrtTwoOverPi * (x + kCubic * (x * x * x))));
  else if constexpr (kind == Activation::GeluQuick)
    return x * sigmoid(kQuick * x);
  else
    return x * sigmoid(x);
}

template <Activation kind>
static inline Floats derivative(Floats x) {
  if constexpr (kind == Activation::GeluErf) {
    return 0.5f * (1.0f + erf(x * kSqrtHalf)) + x * kDensityAtZero * exp(-0.5f * x * x);
  } else if constexpr (kind == Activation::GeluTanh) {
    const Floats t = tanh(kSqrtTwoOverPi * (x + kCubic * (x * x * x)));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * kSqrtTwoOverPi * (1.0f + 3.0f * kCubic * (x * x));
  } else {
    const float slope = kind == Activation::GeluQuick ? kQuick : 1.0f;
    const Floats s = sigmoid(slope * x);
    return s * (1.0f + slope * x * (1.0f - s));
  }
}

template <Activation kind, typename T>
static void forward_as(const GeluForward& a) {
  T* const out = static_cast<T*>(a.out);
  const T* const x = static_cast<const T*>(a.x);
  each_vector(a.threads, a.size, [&](int64_t i, int n) { store(out + i, value<kind>(load(x + i, n)), n); });
}

template <Activation kind, typename T>
static void backward_as(const GeluBackward& a) {
  T* const dx = static_cast<T*>(a.dx);
  const T *const dout = static_cast<const T*>(a.dout), *const x = static_cast<const T*>(a.x);
  each_vector(a.threads, a.size,
              [&](int64_t i, int n) { store(dx + i, load(dout + i, n) * derivative<kind>(load(x + i, n)), n); });
}

template <Activation kind>
static void forward_of(const GeluForward& a) {
  a.type == DType::F32 ? forward_as<kind, float>(a) : forward_as<kind, bf16>(a);
}

template <Activation kind>
static void backward_of(const GeluBackward& a) {
  a.type == DType::F32 ? backward_as<kind, float>(a) : backward_as<kind, bf16>(a);
}

static void forward(const GeluForward& a) {
  switch (a.kind) {
    case Activation::GeluErf: return forward_of<Activation::GeluErf>(a);
    case Activation::GeluTanh: return forward_of<Activation::GeluTanh>(a);
    case Activation::GeluQuick: return forward_of<Activation::GeluQuick>(a);
    case Activation::Silu: return forward_of<Activation::Silu>(a);
  }
}

static void backward(const GeluBackward& a) {
  switch (a.kind) {
    case Activation::GeluErf: return backward_of<Activation::GeluErf>(a);
    case Activation::GeluTanh: return backward_of<Activation::GeluTanh>(a);
    case Activation::GeluQuick: return backward_of<Activation::GeluQuick>(a);
    case Activation::Silu: return backward_of<Activation::Silu>(a);
  }
}

const GeluKernels gelu_kernels = {forward, backward};

}  // namespace vlm2vec::VLM2VEC_ISA
