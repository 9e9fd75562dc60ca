#include "ops/loops.h"
#include "ops/rope_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename T>
static void apply_as(const RopeApply& a) {
  const float sign = a.inverse ? -1.0f : 1.0f;
  parallel_blocks(a.threads, a.rows, row_grain(a.heads * a.half * 2), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < a.heads; ++h) {
        T* const first = static_cast<T*>(a.x) + t * a.stride + h * a.half * 2;
        T* const second = first + a.half;
        for (int64_t j = 0; j < a.half; j += kLanes) {
          const int n = lanes(a.half - j);
          const Floats x = load(first + j, n), y = load(second + j, n);
          const Floats cosine = load(a.cos + t * a.half + j, n), sine = sign * load(a.sin + t * a.half + j, n);
          store(first + j, x * cosine - y * sine, n);
          store(second + j, y * cosine + x * sine, n);
        }
      }
  });
}

static void apply(const RopeApply& a) { a.type == DType::F32 ? apply_as<float>(a) : apply_as<bf16>(a); }

const RopeKernels rope_kernels = {apply};

}  // namespace vlm2vec::VLM2VEC_ISA
