#include "ops/loops.h"
#include "ops/rmsnorm_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename Out, typename X>
static void forward_rows(const RmsnormForward& a) {
  parallel_blocks(a.threads, a.rows, row_grain(a.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const X* x = static_cast<const X*>(a.x) + r * a.x_stride;
      Out* out = static_cast<Out*>(a.out) + r * a.out_stride;
      Floats squares = {};
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const Floats v = load(x + c, lanes(a.columns - c));
        squares += v * v;
      }
      const float rstd = 1.0f / __builtin_sqrtf(sum(squares) / float(a.columns) + a.eps);
      a.rstd[r] = rstd;
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        store(out + c, load(a.weight + c, n) * (load(x + c, n) * rstd), n);
      }
    }
  });
}

template <typename Out, typename X>
static void backward_rows(const RmsnormBackward& a) {
  const Out* const dout = static_cast<const Out*>(a.dout);
  const X* const x = static_cast<const X*>(a.x);
  parallel_blocks(a.threads, a.rows, row_grain(a.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Out* dout_r = dout + r * a.dout_stride;
      const X* x_r = x + r * a.x_stride;
      float* dx_r = a.dx + r * a.dx_stride;
      Floats products = {};
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        products += load(dout_r + c, n) * load(a.weight + c, n) * load(x_r + c, n);
      }
      const float rstd = a.rstd[r], along = rstd * rstd * (sum(products) / float(a.columns));
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        const Floats g = load(dout_r + c, n) * load(a.weight + c, n);
        store(dx_r + c, load(dx_r + c, n) + rstd * (g - load(x_r + c, n) * along), n);
      }
    }
  });
  if (!a.dweight) return;
  add_column_sums<1>({a.dweight}, a.threads, a.rows, a.columns, [&](int64_t r, int64_t c, int n, Floats* terms) {
    terms[0] = load(dout + r * a.dout_stride + c, n) * load(x + r * a.x_stride + c, n) * a.rstd[r];
  });
}

static void forward(const RmsnormForward& a) {
  if (a.out_type == DType::F32)
    a.x_type == DType::F32 ? forward_rows<float, float>(a) : forward_rows<float, bf16>(a);
  else
    a.x_type == DType::F32 ? forward_rows<bf16, float>(a) : forward_rows<bf16, bf16>(a);
}

static void backward(const RmsnormBackward& a) {
  if (a.dout_type == DType::F32)
    a.x_type == DType::F32 ? backward_rows<float, float>(a) : backward_rows<float, bf16>(a);
  else
    a.x_type == DType::F32 ? backward_rows<bf16, float>(a) : backward_rows<bf16, bf16>(a);
}

const RmsnormKernels rmsnorm_kernels = {forward, backward};

}  // namespace vlm2vec::VLM2VEC_ISA
