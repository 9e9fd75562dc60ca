// Vectors of f32 for the CPU kernels (`*_cpu.cpp`), one width for each instruction set. Everything here is in the
// namespace of the instruction set, and static: the linker must never merge two compilations of one function.
#pragma once
#include <cstdint>

#include "core/dtype.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace vlm2vec {
namespace VLM2VEC_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntVector __attribute__((vector_size(kLanes * 4)));
typedef Vector UnalignedVector __attribute__((aligned(4), may_alias));

#define VLM2VEC_INLINE static inline __attribute__((always_inline))

VLM2VEC_INLINE Vector broadcast(float x) { return x - Vector{}; }
VLM2VEC_INLINE Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
VLM2VEC_INLINE void store(float* to, Vector x) { *reinterpret_cast<UnalignedVector*>(to) = x; }

// bf16 widened: exact.
VLM2VEC_INLINE Vector load(const bf16* from) {
  typedef uint16_t Half __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));
  typedef uint32_t Bits __attribute__((vector_size(kLanes * 4)));
  return reinterpret_cast<Vector>(__builtin_convertvector(*reinterpret_cast<const Half*>(from), Bits) << 16);
}

// a * b + c. Always fused where the machine can, so that a number never depends on what the compiler contracted.
VLM2VEC_INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__FP_FAST_FMAF)
  for (int i = 0; i < kLanes; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#else
  return a * b + c;
#endif
}

// The larger; b where either is NaN.
VLM2VEC_INLINE Vector maximum(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

VLM2VEC_INLINE float sum_of(Vector x) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) x[i] += x[i + width];
  return x[0];
}

VLM2VEC_INLINE float maximum_of(Vector x) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) x[i] = x[i] > x[i + width] ? x[i] : x[i + width];
  return x[0];
}

// e^x within 2 ulp. Below -87.3 (denormal results) exactly 0, above 88 as 88; NaN stays NaN.
// x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor series to r^7 (remainder 5e-9).
VLM2VEC_INLINE Vector exponential(Vector x) {
  const Vector lowest = broadcast(-87.3f), highest = broadcast(88.0f);
  const Vector shift = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const IntVector vanishes = x < lowest;
  x = vanishes ? lowest : x;
  x = x > highest ? highest : x;
  const Vector shifted = multiply_add(x, broadcast(1.44269504088896341f), shift);
  const Vector n = shifted - shift;
  Vector r = multiply_add(n, broadcast(-0.693359375f), x);  // 9 bits: n times it is exact
  r = multiply_add(n, broadcast(2.12194440054690583e-4f), r);
  Vector p = broadcast(1.0f / 5040);
  p = multiply_add(p, r, broadcast(1.0f / 720));
  p = multiply_add(p, r, broadcast(1.0f / 120));
  p = multiply_add(p, r, broadcast(1.0f / 24));
  p = multiply_add(p, r, broadcast(1.0f / 6));
  p = multiply_add(p, r, broadcast(0.5f));
  p = multiply_add(p, r * r, r) + broadcast(1.0f);
  const IntVector exponent = (reinterpret_cast<IntVector>(shifted) - 0x4b400000) << 23;
  const Vector result = reinterpret_cast<Vector>(reinterpret_cast<IntVector>(p) + exponent);
  return vanishes ? Vector{} : result;
}

}  // namespace VLM2VEC_ISA
}  // namespace vlm2vec
