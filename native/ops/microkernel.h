// The f32 matrix product that matmul, attention, info_nce and top_k share: C (+)= A · B in register tiles of kRows x
// kColumns. Every element of C is one chain of multiply-adds over k in blocks of kDepth, so that its bits depend on its
// own row and column only, not on where they stand in a tile.
//   A packed: tiles of kRows rows, a[k * kRows + i]; rows beyond the last are zero.
//   B packed: panels of kColumns columns, b[k * kColumns + j]; columns beyond the last are zero.
// C is whole tiles too. For use in `*_cpu.cpp` only, like ops/vector_math.h.
#pragma once
#include "ops/vector_math.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace vlm2vec::VLM2VEC_ISA {

#define VLM2VEC_INLINE static inline __attribute__((always_inline))

VLM2VEC_INLINE Floats load(const float* from) { return load(from, kLanes); }
VLM2VEC_INLINE Floats load(const bf16* from) { return load(from, kLanes); }
VLM2VEC_INLINE void store(float* to, Floats x) { store(to, x, kLanes); }

// x - 0 is x, also for -0, so that this is one instruction (0 + x is not).
VLM2VEC_INLINE Floats broadcast(float x) { return x - Floats{}; }

// a * b + c. Always fused where the machine can, so that a number never depends on what the compiler contracted.
VLM2VEC_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
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

// Accumulators, two vectors of B and one broadcast fill the registers: 32, 16 and 16 of them.
#if defined(__AVX512F__)
constexpr int64_t kRows = 12;
#elif defined(__AVX2__)
constexpr int64_t kRows = 6;
#else
constexpr int64_t kRows = 4;
#endif
constexpr int64_t kColumns = 2 * kLanes;
constexpr int64_t kDepth = 256;  // a panel block of B fits in L1

VLM2VEC_INLINE int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }
VLM2VEC_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
VLM2VEC_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// One tile: c = A · B, or c += A · B, over `depth` (at most kDepth keeps the order of sums; callers split). Element
// (i, k) of A is a[i * row_step + k * depth_step]: (1, kRows) for packed A; both known when compiling, so that the
// loads need one address register.
template <int64_t row_step, int64_t depth_step>
static inline void multiply_tile(float* c, int64_t c_stride, const float* a, const float* b, int64_t depth, bool add) {
  Floats sums[kRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) sums[i][0] = sums[i][1] = Floats{};
  for (int64_t k = 0; k < depth; ++k) {
    const Floats b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const Floats a_i = broadcast(a[i * row_step]);
      sums[i][0] = multiply_add(a_i, b0, sums[i][0]);
      sums[i][1] = multiply_add(a_i, b1, sums[i][1]);
    }
    a += depth_step;
    b += kColumns;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    float* c_i = c + i * c_stride;
    store(c_i, add ? load(c_i) + sums[i][0] : sums[i][0]);
    store(c_i + kLanes, add ? load(c_i + kLanes) + sums[i][1] : sums[i][1]);
  }
}

// C (row_tiles * kRows, panels * kColumns) = or += A · B, both packed over the whole depth.
static inline void multiply_packed(float* c, int64_t c_stride, const float* a, int64_t row_tiles, const float* b,
                                   int64_t panels, int64_t depth, bool add) {
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t block = smaller(kDepth, depth - k);
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t t = 0; t < row_tiles; ++t)
        multiply_tile<1, kRows>(c + t * kRows * c_stride + p * kColumns, c_stride, a + (t * depth + k) * kRows,
                                b + (p * depth + k) * kColumns, block, add || k > 0);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Packing. Sources may lie at any address (mapped files): they are read byte-wise.

VLM2VEC_INLINE float read_number(const float* from) {
  float x;
  __builtin_memcpy(&x, from, 4);
  return x;
}
VLM2VEC_INLINE float read_number(const bf16* from) {
  uint16_t half;
  __builtin_memcpy(&half, from, 2);
  return to_float(bf16{half});
}
VLM2VEC_INLINE void write_number(float* to, float x) { *to = x; }
VLM2VEC_INLINE void write_number(bf16* to, float x) { *to = to_bf16(x); }

// `rows` rows of `from`, each `depth` long, become the columns of one panel: to[k * width + i] = from[i][k]. A tile of
// A (width kRows) and a panel of B that is the transpose of `from` (width kColumns) alike. rows <= width; the rest is
// 0. With `indices`, column i is row indices[i].
template <int64_t width, typename To, typename From>
static inline void pack_transposed(To* to, const From* from, int64_t from_stride, int64_t rows, int64_t depth,
                                   const int32_t* indices = nullptr) {
  constexpr int64_t kStep = 16;  // keeps the lines written in L1
  for (int64_t k = 0; k < depth; k += kStep) {
    const int64_t count = smaller(kStep, depth - k);
    for (int64_t i = 0; i < width; ++i) {
      To* column = to + k * width + i;
      if (i < rows) {
        const From* row = from + (indices ? indices[i] : i) * from_stride + k;
        for (int64_t s = 0; s < count; ++s) write_number(column + s * width, read_number(row + s));
      } else {
        for (int64_t s = 0; s < count; ++s) write_number(column + s * width, 0.0f);
      }
    }
  }
}

// Columns [0, columns) of `depth` rows of `from` as one panel: to[k * width + j] = from[k][j]. columns <= width.
template <int64_t width, typename To, typename From>
static inline void pack_columns(To* to, const From* from, int64_t from_stride, int64_t columns, int64_t depth) {
  for (int64_t k = 0; k < depth; ++k) {
    const From* row = from + k * from_stride;
    To* line = to + k * width;
    if (columns == width) {
      for (int64_t j = 0; j < width; ++j) write_number(line + j, read_number(row + j));
    } else {
      for (int64_t j = 0; j < width; ++j) write_number(line + j, j < columns ? read_number(row + j) : 0.0f);
    }
  }
}

}  // namespace vlm2vec::VLM2VEC_ISA
