#include "core/random.h"
#include "ops/dropout_kernels.h"
#include "ops/loops.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename T>
static void apply_as(const DropoutApply& a) {
  const float p = a.options.p, kept = 1.0f - p;
  const uint64_t seed = a.options.seed, stream = a.options.stream;
  parallel_blocks(a.threads, a.rows, row_grain(a.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.columns;
      T* out = static_cast<T*>(a.out) + r * a.columns;
      const uint64_t first = uint64_t(a.row_ids[r]) * uint64_t(a.columns);
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        Floats uniform;
        for (int i = 0; i < kLanes; ++i) uniform[i] = random_uniform(seed, stream, first + uint64_t(c + i));
        store(out + c, uniform >= p ? load(x + c, n) / kept : Floats{}, n);
      }
    }
  });
}

static void apply(const DropoutApply& a) { a.type == DType::F32 ? apply_as<float>(a) : apply_as<bf16>(a); }

const DropoutKernels dropout_kernels = {apply};

}  // namespace vlm2vec::VLM2VEC_ISA
