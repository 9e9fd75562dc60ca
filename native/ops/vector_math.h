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

#include "core/dtype.h"

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

static inline Floats load(const float* from, int n) {
  Floats x = {};
  if (n == kLanes)
    std::memcpy(&x, from, sizeof x);
  else
    std::memcpy(&x, from, size_t(n) * sizeof(float));
  return x;
}

static inline Floats load(const bf16* from, int n) {
  Halves x = {};
  if (n == kLanes)
    std::memcpy(&x, from, sizeof x);
  else
    std::memcpy(&x, from, size_t(n) * sizeof(bf16));
  return (Floats)(__builtin_convertvector(x, Words) << 16);
}

static inline void store(float* to, Floats x, int n) {
  if (n == kLanes)
    std::memcpy(to, &x, sizeof x);
  else
    std::memcpy(to, &x, size_t(n) * sizeof(float));
}

// Rounds to nearest even; NaN stays NaN (core/dtype.h).
static inline void store(bf16* to, Floats x, int n) {
  const Words bits = (Words)x;
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words wide = (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded;
  const Halves y = __builtin_convertvector(wide, Halves);
  if (n == kLanes)
    std::memcpy(to, &y, sizeof y);
  else
    std::memcpy(to, &y, size_t(n) * sizeof(bf16));
}

// ---------------------------------------------------------------------------------------------------------------------
// Arithmetic

// The sum of all lanes, in a fixed order.
static inline float sum(Floats x) {
  float lane[kLanes];
  std::memcpy(lane, &x, sizeof x);
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lane[i] += lane[i + step];
  return lane[0];
}

static inline float largest(Floats x) {
  float lane[kLanes];
  std::memcpy(lane, &x, sizeof x);
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lane[i] = lane[i] > lane[i + step] ? lane[i] : lane[i + step];
  return lane[0];
}

static inline Floats max(Floats a, Floats b) { return a > b ? a : b; }
static inline Floats absolute(Floats x) { return (Floats)((Words)x & 0x7fffffffu); }
static inline Floats with_sign_of(Floats magnitude, Floats sign) {
  return (Floats)((Words)magnitude | ((Words)sign & 0x80000000u));
}

// e^x within 2 ulp: x = n log 2 + r, |r| <= log(2)/2. Overflows to infinity, underflows gradually; exp(NaN) is NaN.
static inline Floats exp(Floats x) {
  x = x > 89.0f ? splat(89.0f) : x;
  x = x < -105.0f ? splat(-105.0f) : x;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = x * 1.44269504f + kRounder;
  const Floats n = shifted - kRounder;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // log 2 in two parts, the first with spare low bits
  Floats p = r * 1.39506015e-3f + 8.36895313e-3f;
  p = p * r + 4.16662060e-2f;
  p = p * r + 1.66665182e-1f;
  p = p * r + 5.00000000e-1f;
  p = p * r * r + r + 1.0f;
  // 2^n as two factors: n reaches 128 and, for denormal results, -151
  const Ints exponent = (Ints)shifted - 0x4b400000, half = exponent >> 1;
  return p * (Floats)((half + 127) << 23) * (Floats)((exponent - half + 127) << 23);
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
