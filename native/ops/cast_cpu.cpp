#include "ops/cast_kernels.h"
#include "ops/loops.h"

namespace vlm2vec::VLM2VEC_ISA {

struct f16 {
  uint16_t bits;
};

// Exact, denormal numbers included: the exponent is corrected by a product with 2^112.
static inline Floats load(const f16* from, int n) {
  Halves x = {};
  if (n == kLanes)
    std::memcpy(&x, from, sizeof x);
  else
    std::memcpy(&x, from, size_t(n) * sizeof(f16));
  const Words bits = __builtin_convertvector(x, Words);
  const Words magnitude = (Words)((Floats)((bits & 0x7fffu) << 13) * 0x1p112f);
  const Words special = (bits & 0x7c00u) == 0x7c00u ? Words{} + 0x7f800000u : Words{};
  return (Floats)(magnitude | special | (bits & 0x8000u) << 16);
}

template <typename To, typename From>
static void scale_as(const Cast& a, float factor) {
  To* const to = static_cast<To*>(a.to);
  const From* const from = static_cast<const From*>(a.from);
  if (factor == 1.0f)
    each_vector(a.threads, a.size, [&](int64_t i, int n) { store(to + i, load(from + i, n), n); });
  else
    each_vector(a.threads, a.size, [&](int64_t i, int n) { store(to + i, factor * load(from + i, n), n); });
}

template <typename From>
static void scale_from(const Cast& a, float factor) {
  a.to_type == DType::F32 ? scale_as<float, From>(a, factor) : scale_as<bf16, From>(a, factor);
}

static void scale(const Cast& a, float factor) {
  if (a.from_type == DType::F32)
    scale_from<float>(a, factor);
  else if (a.from_type == DType::BF16)
    scale_from<bf16>(a, factor);
  else
    scale_from<f16>(a, factor);
}

static void cast(const Cast& a) { scale(a, 1.0f); }

template <typename T>
static bool all_finite_of(const T* x, int64_t size, int threads) {
  int finite = 1;
  parallel_blocks(threads, size, kGrain, [&](int64_t begin, int64_t end) {
    Words found = {};
    for (int64_t i = begin; i < end; i += kLanes) {
      const Words bits = (Words)load(x + i, lanes(end - i)) & 0x7f800000u;
      found |= (Words)(bits == 0x7f800000u);
    }
    for (int i = 0; i < kLanes; ++i)
      if (found[i]) __atomic_store_n(&finite, 0, __ATOMIC_RELAXED);
  });
  return finite != 0;
}

static bool all_finite(const void* x, DType type, int64_t size, int threads) {
  if (type == DType::F32) return all_finite_of(static_cast<const float*>(x), size, threads);
  if (type == DType::BF16) return all_finite_of(static_cast<const bf16*>(x), size, threads);
  return all_finite_of(static_cast<const f16*>(x), size, threads);
}

template <typename T>
static void add_scaled_of(float* x, const T* y, float scale, int64_t size, int threads) {
  each_vector(threads, size, [&](int64_t i, int n) { store(x + i, load(x + i, n) + scale * load(y + i, n), n); });
}

static void add_scaled(float* x, const void* y, DType y_type, float scale, int64_t size, int threads) {
  if (y_type == DType::F32)
    add_scaled_of(x, static_cast<const float*>(y), scale, size, threads);
  else
    add_scaled_of(x, static_cast<const bf16*>(y), scale, size, threads);
}

const CastKernels cast_kernels = {cast, all_finite, add_scaled, scale};

}  // namespace vlm2vec::VLM2VEC_ISA
