#include "ops/dora_kernels.h"
#include "ops/loops.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename W>
static void norm_of(const DoraNorm& p) {
  parallel_blocks(p.threads, p.rows, row_grain(p.columns * (p.rank + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const W* w = static_cast<const W*>(p.w) + r * p.columns;
      const float* b = p.b + r * p.rank;
      Floats squares = {};
      for (int64_t c = 0; c < p.columns; c += kLanes) {
        const int n = lanes(p.columns - c);
        Floats v = {};
        for (int64_t k = 0; k < p.rank; ++k) v += b[k] * load(p.a + k * p.columns + c, n);
        v = load(w + c, n) + p.s * v;
        squares += v * v;
      }
      p.norm[r] = __builtin_sqrtf(sum(squares));
    }
  });
}

template <typename Out, typename Z>
static void row_scale_rows(const RowScaleForward& p) {
  parallel_blocks(p.threads, p.rows, row_grain(p.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Z* z = static_cast<const Z*>(p.z) + r * p.columns;
      Out* out = static_cast<Out*>(p.out) + r * p.columns;
      for (int64_t c = 0; c < p.columns; c += kLanes) {
        const int n = lanes(p.columns - c);
        const Floats y = load(p.c + c, n) * load(z + c, n);
        store(out + c, p.bias ? y + load(p.bias + c, n) : y, n);
      }
    }
  });
}

template <typename T>
static void row_scale_backward_rows(const RowScaleBackward& p) {
  const T *const dout = static_cast<const T*>(p.dout), *const z = static_cast<const T*>(p.z);
  T* const dz = static_cast<T*>(p.dz);
  // before dz, which may be dout
  add_column_sums<1>({p.dm}, p.threads, p.rows, p.columns, [&](int64_t r, int64_t c, int n, Floats* terms) {
    Floats norm = load(p.norm + c, n);
    for (int i = n; i < kLanes; ++i) norm[i] = 1;
    terms[0] = load(dout + r * p.columns + c, n) * load(z + r * p.columns + c, n) / norm;
  });
  parallel_blocks(p.threads, p.rows, row_grain(p.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < p.columns; c += kLanes) {
        const int n = lanes(p.columns - c);
        store(dz + r * p.columns + c, load(p.c + c, n) * load(dout + r * p.columns + c, n), n);
      }
  });
}

static void norm(const DoraNorm& p) { p.w_type == DType::F32 ? norm_of<float>(p) : norm_of<bf16>(p); }

static void row_scale_forward(const RowScaleForward& p) {
  if (p.out_type == DType::F32)
    p.z_type == DType::F32 ? row_scale_rows<float, float>(p) : row_scale_rows<float, bf16>(p);
  else
    p.z_type == DType::F32 ? row_scale_rows<bf16, float>(p) : row_scale_rows<bf16, bf16>(p);
}

static void row_scale_backward(const RowScaleBackward& p) {
  p.type == DType::F32 ? row_scale_backward_rows<float>(p) : row_scale_backward_rows<bf16>(p);
}

const DoraKernels dora_kernels = {norm, row_scale_forward, row_scale_backward};

}  // namespace vlm2vec::VLM2VEC_ISA
