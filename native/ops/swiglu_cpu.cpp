#include "ops/loops.h"
#include "ops/swiglu_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

// f(row, i, n) for vectors of n consecutive numbers of a row that begin at i. One long row is divided too.
template <typename F>
static void each_row_vector(int threads, int64_t rows, int64_t columns, const F& f) {
  if (rows == 1) return each_vector(threads, columns, [&](int64_t i, int n) { f(0, i, n); });
  parallel_blocks(threads, rows, row_grain(columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t i = 0; i < columns; i += kLanes) f(row, i, lanes(columns - i));
  });
}

template <typename T>
static T* at(const SwigluRows<void>& x, int64_t row) {
  return static_cast<T*>(x.data) + row * x.stride;
}
template <typename T>
static const T* at(const SwigluRows<const void>& x, int64_t row) {
  return static_cast<const T*>(x.data) + row * x.stride;
}

template <typename T>
static void forward_as(const SwigluForward& a) {
  each_row_vector(a.threads, a.rows, a.columns, [&](int64_t row, int64_t i, int n) {
    const Floats g = load(at<T>(a.gate, row) + i, n);
    store(at<T>(a.out, row) + i, g / (1.0f + exp(-g)) * load(at<T>(a.up, row) + i, n), n);
  });
}

template <typename T>
static void backward_as(const SwigluBackward& a) {
  each_row_vector(a.threads, a.rows, a.columns, [&](int64_t row, int64_t i, int n) {
    const Floats d = load(at<T>(a.dout, row) + i, n), g = load(at<T>(a.gate, row) + i, n),
                 u = load(at<T>(a.up, row) + i, n), s = sigmoid(g);
    store(at<T>(a.dup, row) + i, d * g * s, n);
    store(at<T>(a.dgate, row) + i, d * u * s * (1.0f + g * (1.0f - s)), n);
  });
}

static void forward(const SwigluForward& a) { a.type == DType::F32 ? forward_as<float>(a) : forward_as<bf16>(a); }
static void backward(const SwigluBackward& a) { a.type == DType::F32 ? backward_as<float>(a) : backward_as<bf16>(a); }

const SwigluKernels swiglu_kernels = {forward, backward};

}  // namespace vlm2vec::VLM2VEC_ISA
