#include "ops/layernorm_kernels.h"
#include "ops/loops.h"

namespace vlm2vec::VLM2VEC_ISA {

// x - mean in the n lanes that exist, 0 in the others.
static inline Floats centred(const float* x, float mean, int n) {
  Floats v = load(x, n) - mean;
  for (int i = n; i < kLanes; ++i) v[i] = 0;
  return v;
}

template <typename Out>
static void forward_rows(const LayernormForward& a) {
  const float width = float(a.columns);
  parallel_blocks(a.threads, a.rows, row_grain(a.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = a.x + r * a.columns;
      Out* out = static_cast<Out*>(a.out) + r * a.columns;
      Floats total = {}, squares = {};
      for (int64_t c = 0; c < a.columns; c += kLanes) total += load(x + c, lanes(a.columns - c));
      const float mean = sum(total) / width;
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const Floats v = centred(x + c, mean, lanes(a.columns - c));
        squares += v * v;
      }
      const float rstd = 1.0f / __builtin_sqrtf(sum(squares) / width + a.eps);
      a.mean[r] = mean;
      a.rstd[r] = rstd;
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        store(out + c, (load(x + c, n) - mean) * rstd * load(a.weight + c, n) + load(a.bias + c, n), n);
      }
    }
  });
}

template <typename Out>
static void backward_rows(const LayernormBackward& a) {
  const Out* const dout = static_cast<const Out*>(a.dout);
  const float width = float(a.columns);
  parallel_blocks(a.threads, a.rows, row_grain(a.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Out* dout_r = dout + r * a.columns;
      const float* x_r = a.x + r * a.columns;
      float* dx_r = a.dx + r * a.columns;
      const float mean = a.mean[r], rstd = a.rstd[r];
      Floats total = {}, products = {};  // of g, and of g * xhat
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        const Floats g = load(dout_r + c, n) * load(a.weight + c, n);
        total += g;
        products += g * ((load(x_r + c, n) - mean) * rstd);  // the lanes that do not exist have g = 0
      }
      const float g_mean = sum(total) / width, along = sum(products) / width;
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        const Floats g = load(dout_r + c, n) * load(a.weight + c, n), xhat = (load(x_r + c, n) - mean) * rstd;
        store(dx_r + c, load(dx_r + c, n) + rstd * (g - g_mean - xhat * along), n);
      }
    }
  });
  if (!a.dweight) return;
  add_column_sums<2>({a.dweight, a.dbias}, a.threads, a.rows, a.columns,
                     [&](int64_t r, int64_t c, int n, Floats* terms) {
                       terms[1] = load(dout + r * a.columns + c, n);
                       terms[0] = terms[1] * ((load(a.x + r * a.columns + c, n) - a.mean[r]) * a.rstd[r]);
                     });
}

static void forward(const LayernormForward& a) {
  a.out_type == DType::F32 ? forward_rows<float>(a) : forward_rows<bf16>(a);
}
static void backward(const LayernormBackward& a) {
  a.dout_type == DType::F32 ? backward_rows<float>(a) : backward_rows<bf16>(a);
}

const LayernormKernels layernorm_kernels = {forward, backward};

}  // namespace vlm2vec::VLM2VEC_ISA
