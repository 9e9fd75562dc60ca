#include "ops/loops.h"
#include "ops/swiglu_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename T>
static void forward_as(const SwigluForward& a) {
  T* const out = static_cast<T*>(a.out);
  const T *const gate = static_cast<const T*>(a.gate), *const up = static_cast<const T*>(a.up);
  each_vector(a.threads, a.size, [&](int64_t i, int n) {
    const Floats g = load(gate + i, n);
    store(out + i, g / (1.0f + exp(-g)) * load(up + i, n), n);
  });
}

template <typename T>
static void backward_as(const SwigluBackward& a) {
  T *const dgate = static_cast<T*>(a.dgate), *const dup = static_cast<T*>(a.dup);
  const T *const dout = static_cast<const T*>(a.dout), *const gate = static_cast<const T*>(a.gate),
                 *const up = static_cast<const T*>(a.up);
  each_vector(a.threads, a.size, [&](int64_t i, int n) {
    const Floats d = load(dout + i, n), g = load(gate + i, n), u = load(up + i, n), s = sigmoid(g);
    store(dup + i, d * g * s, n);
    store(dgate + i, d * u * s * (1.0f + g * (1.0f - s)), n);
  });
}

static void forward(const SwigluForward& a) { a.type == DType::F32 ? forward_as<float>(a) : forward_as<bf16>(a); }
static void backward(const SwigluBackward& a) { a.type == DType::F32 ? backward_as<float>(a) : backward_as<bf16>(a); }

const SwigluKernels swiglu_kernels = {forward, backward};

}  // namespace vlm2vec::VLM2VEC_ISA
