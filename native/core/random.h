// Counter-based random numbers: a pure function of (seed, stream, counter), so that what is drawn depends neither on
// order nor on the number of threads, and is the same on CPU and GPU. The mixer is SplitMix64's finaliser, applied
// twice. src/data/random.ts is the same function for TypeScript.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/dtype.h"

namespace vlm2vec {

constexpr uint64_t kCounterStep = 0x9e3779b97f4a7c15ull;

// Of one number, or of each in a vector.
template <typename Bits>
VLM2VEC_HOST_DEVICE static inline Bits mix64(Bits x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

VLM2VEC_HOST_DEVICE static inline uint64_t random_base(uint64_t seed, uint64_t stream) {
  return mix64(seed * kCounterStep + stream);
}

VLM2VEC_HOST_DEVICE static inline uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t counter) {
  return mix64(random_base(seed, stream) + counter * kCounterStep);
}

// Uniform in [0, 1), 24 bits.
VLM2VEC_HOST_DEVICE static inline float random_uniform(uint64_t seed, uint64_t stream, uint64_t counter) {
  return float(random_bits(seed, stream, counter) >> 40) * (1.0f / 16777216.0f);
}

// Standard normal (Box-Muller).
static inline float random_normal(uint64_t seed, uint64_t stream, uint64_t counter) {
  const uint64_t bits = random_bits(seed, stream, counter);
  const double u = (double(bits >> 32) + 1.0) / 4294967297.0, v = double(bits & 0xffffffffu) / 4294967296.0;
  return float(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

}  // namespace vlm2vec
