// Making and reading the codes of ops/quantize.h. For use in `*_cpu.cpp` only.
#pragma once
#include "ops/microkernel.h"
#include "ops/quantize.h"

namespace vlm2vec::VLM2VEC_ISA {

typedef int8_t Bytes __attribute__((vector_size(kLanes)));

// x * factor to the nearest whole number, halves away from zero. Without an addition, which compilers contract with the
// product on some machines only: codes are the same everywhere.
VLM2VEC_INLINE Ints rounded_product(Floats x, float factor) {
  const Ints twice = __builtin_convertvector(x * (2 * factor), Ints);
  return (twice + 1 + 2 * (Ints)(twice < 0)) / 2;
}

// kLanes numbers by their codes.
VLM2VEC_INLINE Floats load_int8(const int8_t* codes) {
  Bytes bytes;
  __builtin_memcpy(&bytes, codes, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes, Ints), Floats);
}

// The levels of kLanes codes that begin at a whole byte.
VLM2VEC_INLINE Floats load_nf4(const uint8_t* codes) {
#if defined(__AVX512F__)
  const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)), low = _mm_set1_epi8(15);
  const __m128i each = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(pairs, 4), low), _mm_and_si128(pairs, low));
  return __builtin_shuffle(load(kNf4Levels), __builtin_convertvector((Bytes)each, Ints));
#elif defined(__AVX2__)
  int32_t word;
  __builtin_memcpy(&word, codes, 4);
  const __m128i pairs = _mm_cvtsi32_si128(word), low = _mm_set1_epi8(15);
  const __m128i each = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(pairs, 4), low), _mm_and_si128(pairs, low));
  const __m256i index = _mm256_cvtepu8_epi32(each);
  const __m256 first = _mm256_permutevar8x32_ps(_mm256_loadu_ps(kNf4Levels), index);
  const __m256 second = _mm256_permutevar8x32_ps(_mm256_loadu_ps(kNf4Levels + 8), index);
  return _mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
#else
  Floats x;
  for (int i = 0; i < kLanes; ++i) x[i] = kNf4Levels[i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4];
  return x;
#endif
}

// to[0, count) = scale * codes
VLM2VEC_INLINE void read_int8(float* to, const int8_t* codes, float scale, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load_int8(codes + i) * scale);
  for (; i < count; ++i) to[i] = float(codes[i]) * scale;
}

// to[0, count) = numbers [first, first + count) of the flattened matrix.
VLM2VEC_INLINE void read_nf4(float* to, const uint8_t* codes, const float* scales, int64_t first, int64_t count) {
  const auto one = [=](int64_t at) { return kNf4Levels[at % 2 ? codes[at / 2] & 15 : codes[at / 2] >> 4]; };
  int64_t i = 0;
  while (i < count) {
    const int64_t at = first + i, end = smaller(count, i + kNf4Block - at % kNf4Block);
    const float scale = scales[at / kNf4Block];
    if (at % 2 && i < end) {
      to[i] = one(at) * scale;
      ++i;
    }
    for (; i + kLanes <= end; i += kLanes) store(to + i, load_nf4(codes + (first + i) / 2) * scale);
    for (; i < end; ++i) to[i] = one(first + i) * scale;
  }
}

}  // namespace vlm2vec::VLM2VEC_ISA
