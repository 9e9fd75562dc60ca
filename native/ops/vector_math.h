// f32 vectors for the CPU kernels (ops/*_cpu.cpp): one register of the instruction set that the file is compiled for,
// by the compiler's vector extension, so that every element takes the same instructions wherever it stands in a row:
// its bits do not depend on alignment, on its neighbours or on the number of threads.
//
//   for (int64_t c = 0; c < columns; c += kLanes) {
//     const int n = lanes(columns - c);                       // kLanes, or what is left
//     store(out + c, exp(load(x + c, n)), n);                 // the missing lanes are read as 0 and not written
//   }
//
// exp, tanh and erf are minimax polynomials (Remez); the largest errors are asserted in
// test/native/cases/vector_math.cpp. For kernels only: everything here is static and lives in the namespace of its
// instruction set.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/dtype.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef VLM2VEC_ISA
#define VLM2VEC_ISA portable
#endif

namespace vlm2vec::VLM2VEC_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

static inline int lanes(int64_t left) { return left < kLanes ? int(left) : kLanes; }

static inline Floats splat(float x) { return Floats{} + x; }

// ---------------------------------------------------------------------------------------------------------------------
// Memory. n: how many lanes exist.

#if defined(__AVX512F__)
static inline __mmask16 lane_mask(int n) { return __mmask16((1u << n) - 1); }
#endif

static inline Floats load(const float* from, int n) {
  Floats x = {};
  if (n == kLanes)
    std::memcpy(&x, from, sizeof x);
  else
#if defined(__AVX512F__)
    x = _mm512_maskz_loadu_ps(lane_mask(n), from);
#else
    std::memcpy(&x, from, size_t(n) * sizeof(float));
#endif
  return x;
}

static inline Floats load(const bf16* from, int n) {
  Halves x = {};
  if (n == kLanes)
    std::memcpy(&x, from, sizeof x);
  else
#if defined(__AVX512F__)
    x = (Halves)_mm256_maskz_loadu_epi16(lane_mask(n), from);
#else
    std::memcpy(&x, from, size_t(n) * sizeof(bf16));
#endif
#if defined(__AVX512F__)  // GCC widens by halves
  return (Floats)((Words)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)x) << 16);
#else
  return (Floats)(__builtin_convertvector(x, Words) << 16);
#endif
}

static inline void store(float* to, Floats x, int n) {
  if (n == kLanes)
    std::memcpy(to, &x, sizeof x);
  else
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, lane_mask(n), x);
#else
    std::memcpy(to, &x, size_t(n) * sizeof(float));
#endif
}

// The bits of x rounded to bf16, in the upper half of each word: to nearest even; NaN stays NaN (core/dtype.h).
static inline Words rounded_to_bf16(Floats x) {
  const Words bits = (Words)x;
  const Words rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return ((bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : rounded) & 0xffff0000u;
}

static inline void store(bf16* to, Floats x, int n) {
  const Halves y = __builtin_convertvector(rounded_to_bf16(x) >> 16, Halves);
  if (n == kLanes)
    std::memcpy(to, &y, sizeof y);
  else
#if defined(__AVX512F__)
    _mm256_mask_storeu_epi16(to, lane_mask(n), (__m256i)y);
#else
    std::memcpy(to, &y, size_t(n) * sizeof(bf16));
#endif
}

// ---------------------------------------------------------------------------------------------------------------------
// Arithmetic

// b where either is NaN. (maskz: GCC 12 warns of its own header's plain forms.)
static inline Floats max(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, a, b);
#else
  return a > b ? a : b;
#endif
}
static inline Floats min(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a, b);
#else
  return a < b ? a : b;
#endif
}

// Lane i becomes lane i ^ step.
template <int step, size_t... lane>
static inline Floats swap_lanes(Floats x, std::index_sequence<lane...>) {
  return __builtin_shufflevector(x, x, (lane ^ step)...);
}

// Halves are joined until one lane is left; a fixed order.
template <int step = kLanes / 2, typename Join>
static inline float reduce(Floats x, const Join& join) {
  x = join(x, swap_lanes<step>(x, std::make_index_sequence<kLanes>()));
  if constexpr (step > 1)
    return reduce<step / 2>(x, join);
  else
    return x[0];
}

static inline float sum(Floats x) {
  return reduce(x, [](Floats a, Floats b) { return a + b; });
}
static inline float largest(Floats x) { return reduce(x, max); }

static inline Floats absolute(Floats x) { return (Floats)((Words)x & 0x7fffffffu); }
static inline Floats with_sign_of(Floats magnitude, Floats sign) {
  return (Floats)((Words)magnitude | ((Words)sign & 0x80000000u));
}

constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer

// p 2^n, where `shifted` is n + kRounder: n may leave the range of exponents, which makes 0, a denormal or infinity.
static inline Floats scale_by_power(Floats p, Floats shifted) {
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_ps(0xffff, p, shifted - kRounder);
#else
  // as two factors: n reaches 128 and, for denormal results, -151
  const Ints exponent = (Ints)shifted - 0x4b400000, half = exponent >> 1;
  return p * (Floats)((half + 127) << 23) * (Floats)((exponent - half + 127) << 23);
#endif
}

// e^x within 2 ulp: x = n log 2 + r, |r| <= log(2)/2. Overflows to infinity, underflows gradually; exp(NaN) is NaN.
static inline Floats exp(Floats x) {
  x = max(splat(-105.0f), min(splat(89.0f), x));
  const Floats shifted = x * 1.44269504f + kRounder;
  const Floats n = shifted - kRounder;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // log 2 in two parts, the first with spare low bits
  Floats p = r * 1.39506015e-3f + 8.36895313e-3f;
  p = p * r + 4.16662060e-2f;
  p = p * r + 1.66665182e-1f;
  p = p * r + 5.00000000e-1f;
  p = p * r * r + r + 1.0f;
  return scale_by_power(p, shifted);
}

// 2^x with a relative error of 1e-7, for softmax, whose x are rounded already. 2^-inf is 0, 2^NaN is NaN. Of `count`
// vectors side by side: the core looks ahead too little to see that one after the other they do not wait for each
// other.
template <int count>
static inline __attribute__((always_inline)) void exp2(Floats (&x)[count]) {
#define VLM2VEC_EACH _Pragma("GCC unroll 8") for (int i = 0; i < count; ++i)
  Floats r[count], p[count];
#if defined(__AVX512DQ__)  // any exponent will do; the rest of an infinity is 0
  VLM2VEC_EACH r[i] = _mm512_maskz_reduce_ps(0xffff, x[i], 8);
  VLM2VEC_EACH x[i] = x[i] - r[i];
#else
  VLM2VEC_EACH {
    x[i] = max(splat(-150.0f), min(splat(128.0f), x[i]));
    const Floats shifted = x[i] + kRounder;
    r[i] = x[i] - (shifted - kRounder);
    x[i] = shifted;
  }
#endif
  VLM2VEC_EACH p[i] = r[i] * 1.3264727e-3f + 9.6715130e-3f;
  VLM2VEC_EACH p[i] = p[i] * r[i] + 5.5507336e-2f;
  VLM2VEC_EACH p[i] = p[i] * r[i] + 2.4022242e-1f;
  VLM2VEC_EACH p[i] = p[i] * r[i] + 6.9314700e-1f;
  VLM2VEC_EACH p[i] = p[i] * r[i] + 1.0f;
#if defined(__AVX512DQ__)
  VLM2VEC_EACH x[i] = _mm512_maskz_scalef_ps(0xffff, p[i], x[i]);
#else
  VLM2VEC_EACH x[i] = scale_by_power(p[i], x[i]);
#endif
#undef VLM2VEC_EACH
}
static inline Floats exp2(Floats x) {
  Floats one[1] = {x};
  exp2(one);
  return one[0];
}

static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

static inline Floats tanh(Floats x) {
  const Floats a = absolute(x), z = x * x;
  Floats p = z * -5.71704750e-3f + 2.06505900e-2f;
  p = p * z - 5.37434991e-2f;
  p = p * z + 1.33314913e-1f;
  p = p * z - 3.33332839e-1f;
  const Floats near = x + x * z * p;
  const Floats far = 1.0f - 2.0f / (exp(a + a) + 1.0f);
  return a < 0.625f ? near : with_sign_of(far, x);
}

static inline Floats erf(Floats x) {
  const Floats a = absolute(x), z = x * x;
  Floats p = z * 7.88912234e-5f - 8.02084208e-4f;
  p = p * z + 5.18953545e-3f;
  p = p * z - 2.68544447e-2f;
  p = p * z + 1.12836002e-1f;
  p = p * z - 3.76126271e-1f;
  p = p * z + 1.28379166e-1f;
  const Floats near = x + x * p;
  // log erfc(a) + a^2, on [1, 4]; beyond that erf is 1 in f32
  const Floats b = a > 4.0f ? splat(4.0f) : a;
  Floats q = b * 1.85569390e-4f - 2.93956266e-3f;
  q = q * b + 2.18051431e-2f;
  q = q * b - 1.03037011e-1f;
  q = q * b + 3.61773921e-1f;
  q = q * b - 1.12703980f;
  q = q * b - 3.53775611e-4f;
  const Floats far = 1.0f - exp(q - b * b);
  return a < 1.0f ? near : with_sign_of(a == a ? far : a, x);
}

}  // namespace vlm2vec::VLM2VEC_ISA
