// The matrix product that matmul, attention, info_nce and top_k share: C (+)= A · B in register tiles of kRows x
// kColumns, summed in f32. Every element of C is one chain of multiply-adds over k (in blocks, where a caller splits),
// so that its bits depend on its own row and column only, not on where they stand in a tile.
// Packed operands are 32-bit words, stored as float: one f32 each (Singles), or on machines with bf16 products two
// consecutive k (Pairs; the lower half is the first, 0 beyond the last). `depth` counts words.
//   A packed: tiles of kRows rows, a[k * kRows + i]; rows beyond the last are zero.
//   B packed: panels of kColumns columns, b[k * kColumns + j]; columns beyond the last are zero.
// C is whole tiles too. For use in `*_cpu.cpp` only, like ops/vector_math.h.
#pragma once
#include "ops/vector_math.h"

namespace vlm2vec::VLM2VEC_ISA {

#define VLM2VEC_INLINE static inline __attribute__((always_inline))
#define VLM2VEC_INLINE_MEMBER static __attribute__((always_inline))

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

struct Singles {
  static constexpr int64_t kNumbers = 1;  // in a word
  VLM2VEC_INLINE_MEMBER Floats splat(const float* a) { return broadcast(*a); }
  VLM2VEC_INLINE_MEMBER Floats multiply_add(Floats a, Floats b, Floats c) { return VLM2VEC_ISA::multiply_add(a, b, c); }
};

// bf16 products: c + a_1 b_1 + a_0 b_0. With VLM2VEC_EMULATE_BF16 (tests) by two f32 multiply-adds, which is what the
// instruction does but for denormals.
#if defined(__AVX512BF16__) || defined(VLM2VEC_EMULATE_BF16)
#define VLM2VEC_HAS_PAIRS
struct Pairs {
  static constexpr int64_t kNumbers = 2;
  VLM2VEC_INLINE_MEMBER Floats splat(const float* a) {
    uint32_t word;
    std::memcpy(&word, a, 4);
    return (Floats)(Words{} + word);
  }
  VLM2VEC_INLINE_MEMBER Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
#else
    const Words x = (Words)a, y = (Words)b;
    c = VLM2VEC_ISA::multiply_add((Floats)(x & 0xffff0000u), (Floats)(y & 0xffff0000u), c);
    return VLM2VEC_ISA::multiply_add((Floats)(x << 16), (Floats)(y << 16), c);
#endif
  }
};
// What products of bf16 tensors are made of.
using Halved = Pairs;
#else
using Halved = Singles;
#endif

// Words that hold `depth` numbers.
template <typename Op>
VLM2VEC_INLINE int64_t words(int64_t depth) {
  return (depth + Op::kNumbers - 1) / Op::kNumbers;
}

// Where the operands of a tile are. Near: in L1. Streamed: in L2 and beyond, so that lines are asked for ahead of their
// use (words of depth; measured on Cascade Lake). StreamedB: only those of B.
enum class Operands { Near, StreamedB, Streamed };
constexpr int64_t kAheadOfA = 48, kAheadOfB = 32, kAheadOfC = 64;
constexpr int64_t kAheadOfRows = 12;  // where words of A do not follow each other

// One tile: c = A · B, or c += A · B, over `depth` words. Word (i, k) of A is a[i * row_step + k * depth_step]: (1,
// kRows) for packed A; both known when compiling, so that the loads need one address register. With `vectors` 1 only
// the first kLanes columns of the panel are made.
template <int64_t row_step, int64_t depth_step, typename Op = Singles, int vectors = 2,
          Operands operands = Operands::Near>
static inline void multiply_tile(float* c, int64_t c_stride, const float* a, const float* b, int64_t depth, bool add) {
  constexpr bool streamed = operands != Operands::Near;
  Floats sums[kRows][vectors];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums[i][v] = Floats{};
  const auto step = [&](const float* a_k, const float* b_k) __attribute__((always_inline)) {
    if constexpr (depth_step > kColumns) {  // a line or two of each row of A
      __builtin_prefetch(a_k + kAheadOfRows * depth_step);
      __builtin_prefetch(a_k + kAheadOfRows * depth_step + kRows - 1);
    }
    Floats line[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      if (streamed) __builtin_prefetch(b_k + kAheadOfB * kColumns + v * kLanes);
      line[v] = load(b_k + v * kLanes);
    }
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const Floats a_i = Op::splat(a_k + i * row_step);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sums[i][v] = Op::multiply_add(a_i, line[v], sums[i][v]);
    }
  };
  constexpr int64_t kSteps = 4;  // of depth in one round
  const int64_t rounds = depth / kSteps, late = streamed ? larger(0, rounds - kAheadOfC / kSteps) : 0;
  int64_t round = 0;
  for (int64_t end : {late, rounds}) {
    for (; round < end; ++round, a += kSteps * depth_step, b += kSteps * kColumns) {
      if (operands == Operands::Streamed)
        for (int64_t line = 0; line < kSteps * kRows; line += 16) __builtin_prefetch(a + kAheadOfA * kRows + line);
#pragma GCC unroll 4
      for (int s = 0; s < kSteps; ++s) step(a + s * depth_step, b + s * kColumns);
    }
    if (end == late && add)
      for (int i = 0; i < kRows; ++i)
        for (int v = 0; v < vectors; ++v) __builtin_prefetch(c + i * c_stride + v * kLanes, 1);
  }
  for (int64_t k = rounds * kSteps; k < depth; ++k, a += depth_step, b += kColumns) step(a, b);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      float* to = c + i * c_stride + v * kLanes;
      store(to, add ? load(to) + sums[i][v] : sums[i][v]);
    }
}

// The same for a panel of which `columns` are wanted: half the work where they fit one vector.
template <int64_t row_step, int64_t depth_step, typename Op, Operands operands = Operands::Near>
static inline void multiply_panel(float* c, int64_t c_stride, const float* a, const float* b, int64_t depth, bool add,
                                  int64_t columns) {
  if (columns > kLanes)
    multiply_tile<row_step, depth_step, Op, 2, operands>(c, c_stride, a, b, depth, add);
  else
    multiply_tile<row_step, depth_step, Op, 1, operands>(c, c_stride, a, b, depth, add);
}

// Of a long sum, parts are made one after the other. A row's and a column's part, and how long they are, depend on
// `depth` only.
constexpr int64_t kLongestPart = 1536;
VLM2VEC_INLINE int64_t part_of(int64_t depth) {
  const int64_t parts = (depth + kLongestPart - 1) / kLongestPart;
  return parts > 1 ? round_up((depth + parts - 1) / parts, 16) : depth;
}

// C (rows, columns) = or += A · B, both packed over the whole depth (in words); nothing else of C is written. A part of
// kPanels panels stays in L2 while the tiles of A go by.
constexpr int64_t kPanels = 4;
template <typename Op = Singles>
static inline void multiply_packed(float* c, int64_t c_stride, const float* a, int64_t rows, const float* b,
                                   int64_t columns, int64_t depth, bool add) {
  const int64_t part = part_of(depth);
  for (int64_t first = 0; first < columns; first += kPanels * kColumns)
    for (int64_t k = 0; k < depth; k += part)
      for (int64_t i = 0; i < rows; i += kRows)
        for (int64_t j = first; j < smaller(columns, first + kPanels * kColumns); j += kColumns) {
          const int64_t block = smaller(part, depth - k), height = rows - i, width = columns - j;
          const float *a_k = a + i * depth + k * kRows, *b_k = b + j * depth + k * kColumns;
          const bool adds = add || k > 0;
          float* to = c + i * c_stride + j;
          if (height >= kRows && width >= kColumns) {
            multiply_tile<1, kRows, Op, 2, Operands::Streamed>(to, c_stride, a_k, b_k, block, adds);
            continue;
          }
          float tile[kRows * kColumns];
          multiply_tile<1, kRows, Op>(tile, kColumns, a_k, b_k, block, false);
          for (int64_t y = 0; y < smaller(kRows, height); ++y)
            for (int64_t x = 0; x < smaller(kColumns, width); ++x)
              to[y * c_stride + x] = adds ? to[y * c_stride + x] + tile[y * kColumns + x] : tile[y * kColumns + x];
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
VLM2VEC_INLINE uint32_t read_bits(const bf16* from) {
  uint16_t half;
  __builtin_memcpy(&half, from, 2);
  return half;
}
VLM2VEC_INLINE void write_number(float* to, float x) { *to = x; }
VLM2VEC_INLINE void write_number(bf16* to, float x) { *to = to_bf16(x); }

// Rows become columns: block[i][s] and block[s][i] change places. In each round blocks of `step` x `step` do.
template <int step, size_t... lane>
VLM2VEC_INLINE void exchange(Floats& a, Floats& b, std::index_sequence<lane...>) {
  const Floats x = a, y = b;
  a = __builtin_shufflevector(x, y, (lane & step ? kLanes + lane - step : lane)...);
  b = __builtin_shufflevector(x, y, (lane & step ? kLanes + lane : lane + step)...);
}

template <int step = kLanes / 2>
VLM2VEC_INLINE void transpose(Floats (&block)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if ((i & step) == 0) exchange<step>(block[i], block[i + step], std::make_index_sequence<kLanes>());
  if constexpr (step > 1) transpose<step / 2>(block);
}

// Words of two numbers each, rounded to bf16: `low` is the first of the two. The instruction makes denormals 0.
VLM2VEC_INLINE Floats pair(Floats low, Floats high) {
#if defined(__AVX512BF16__)
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (Floats)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
#else
  return (Floats)(rounded_to_bf16(low) >> 16 | rounded_to_bf16(high));
#endif
}

// kLanes numbers as the words of a row: to[0 .. kLanes / kNumbers).
template <typename Op>
VLM2VEC_INLINE void store_words(float* to, Floats x) {
  if constexpr (Op::kNumbers == 1) {
    store(to, x);
  } else {
#if defined(__AVX512BF16__)
    const __m256bh halves = _mm512_cvtneps_pbh(x);
    std::memcpy(to, &halves, sizeof halves);
#else
    store(reinterpret_cast<bf16*>(to), x, kLanes);
#endif
  }
}

// n words that hold `numbers` consecutive numbers.
template <typename Op, typename From>
VLM2VEC_INLINE Floats load_words(const From* from, int64_t numbers, int n) {
  if constexpr (Op::kNumbers == 1) {
    return load(from, n);
  } else if constexpr (sizeof(From) == 2) {
    const int whole = int(numbers / 2) < n ? int(numbers / 2) : n;
    Floats x = load(reinterpret_cast<const float*>(from), whole);
    if (whole < n) {
      Words y = (Words)x;
      y[whole] = read_bits(from + 2 * whole);
      x = (Floats)y;
    }
    return x;
  } else {
    const int64_t second = numbers - kLanes;
    Halves halves[2] = {};
    store(reinterpret_cast<bf16*>(&halves[0]), load(from, lanes(numbers)), kLanes);
    if (second > 0) store(reinterpret_cast<bf16*>(&halves[1]), load(from + kLanes, lanes(second)), kLanes);
    return load(reinterpret_cast<const float*>(halves), kLanes);
  }
}

// `rows` rows, each `depth` numbers long, become the columns of one panel: word k of row i is to[k * width + i]. A tile
// of A (width kRows) and a panel of B that is the transpose of the rows (width kColumns) alike. rows <= width; the rest
// is 0. row(i): where row i lies.
template <typename Op, int64_t width, typename To, typename Row>
static inline void pack_rows(To* to, int64_t rows, int64_t depth, const Row& row) {
  decltype(row(0)) from[width];
  for (int64_t i = 0; i < rows; ++i) from[i] = row(i);
  const int64_t count = words<Op>(depth);
  for (int64_t k = 0; k < count; k += kLanes) {
    const int n = lanes(count - k);
    const int64_t numbers = depth - k * Op::kNumbers;
    for (int64_t first = 0; first < width; first += kLanes) {
      Floats block[kLanes];
      for (int64_t i = 0; i < kLanes; ++i)
        block[i] = first + i < rows ? load_words<Op>(from[first + i] + k * Op::kNumbers, numbers, n) : Floats{};
      for (int64_t i = 0; i < kLanes && first + i < rows; ++i)  // more rows than the machine follows by itself
        __builtin_prefetch(from[first + i] + (k + 4 * kLanes) * Op::kNumbers);
      transpose(block);
      To* line = to + k * width + first;
      for (int s = 0; s < n; ++s) store(line + s * width, block[s], width - first < kLanes ? width % kLanes : kLanes);
    }
  }
}

template <int64_t width, typename To, typename From>
static inline void pack_transposed(To* to, const From* from, int64_t from_stride, int64_t rows, int64_t depth,
                                   const int32_t* indices = nullptr) {
  pack_rows<Singles, width>(to, rows, depth,
                            [=](int64_t i) { return from + (indices ? indices[i] : i) * from_stride; });
}

// Columns [0, columns) of `depth` rows as one panel: the word of rows k .. k + kNumbers - 1 at column j is
// to[k / kNumbers * width + j]. columns <= width.
template <typename Op, int64_t width, typename To, typename Row>
static inline void pack_depth(To* to, int64_t columns, int64_t depth, const Row& row) {
  for (int64_t k = 0; k < depth; k += Op::kNumbers) {
    To* line = to + k / Op::kNumbers * width;
    const auto* first = row(k);
    const auto* second = Op::kNumbers == 2 && k + 1 < depth ? row(k + 1) : nullptr;
    for (int64_t j = 0; j < width; j += kLanes) {
      const int n = columns > j ? lanes(columns - j) : 0;
      Floats x = n ? load(first + j, n) : Floats{};
      if constexpr (Op::kNumbers == 2) x = pair(x, second && n ? load(second + j, n) : Floats{});
      store(line + j, x, width - j < kLanes ? width % kLanes : kLanes);
    }
  }
}

template <int64_t width, typename To, typename From>
static inline void pack_columns(To* to, const From* from, int64_t from_stride, int64_t columns, int64_t depth) {
  pack_depth<Singles, width>(to, columns, depth, [=](int64_t k) { return from + k * from_stride; });
}

}  // namespace vlm2vec::VLM2VEC_ISA
