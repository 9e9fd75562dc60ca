// Products of bf16 in the tile registers of Intel's AMX: 16 x 16 sums of 32 products by one instruction, at up to 16
// times the rate of f32's multiply-adds. Sums are f32; denormals count as zero. Every element is summed in the order of
// k, so that its bits depend on its own row and column only. For use in `*_cpu.cpp` of AVX-512 only.
//   A packed: tiles of 16 rows by 32 k, 1 KiB each: a[i * 32 + k]
//   B packed: tiles of 16 pairs of k by 16 columns: b[k / 2 * 32 + 2 * j + k % 2]
// With VLM2VEC_EMULATE_AMX (tests) plain loops.
#pragma once
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

constexpr int64_t kTileSide = 16, kTileDepth = 32;
constexpr int64_t kTileNumbers = kTileSide * kTileDepth;
constexpr int64_t kAmxSide = 2 * kTileSide;  // rows, and columns, of what multiply_amx makes

// In the namespace whose kernels run on machines with AMX.
#if defined(__AVX512F__) && !defined(VLM2VEC_HAS_PAIRS)
#define VLM2VEC_HAS_AMX

// The tiles of a thread, from construction on.
struct AmxTiles {
#if defined(VLM2VEC_EMULATE_AMX)
  AmxTiles() {}
#else
  AmxTiles() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  ~AmxTiles() { asm volatile("tilerelease"); }
#endif
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

#if !defined(VLM2VEC_EMULATE_AMX)

template <int tile>
VLM2VEC_INLINE void load_tile(const void* from, int64_t row_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(tile) : "memory");
}
template <int tile>
VLM2VEC_INLINE void store_tile(void* to, int64_t row_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "i"(tile) : "memory");
}
template <int tile>
VLM2VEC_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
template <int sums, int a, int b>
VLM2VEC_INLINE void add_tile_product() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(a), "i"(b));
}

#endif

// Where the four tiles of a block of sums lie: (0, 0) at `first`, numbers from one row of a tile to the next, and from
// a tile to the one on its right and the one below.
struct AmxBlock {
  float* first;
  int64_t row, right, below;
};
// Rows of a matrix.
VLM2VEC_INLINE AmxBlock amx_rows(float* c, int64_t stride) { return {c, stride, kTileSide, kTileSide * stride}; }
// Tiles that lie in one piece each, a strip of them (16 rows of a matrix) after the other.
constexpr int64_t kTileFloats = kTileSide * kTileSide;
VLM2VEC_INLINE AmxBlock amx_tiles(float* c, int64_t strip) { return {c, kTileSide, kTileFloats, strip}; }

// A block of sums in the making: begun from 0 or what is there, a step for every tile of depth, written. Between them
// may be anything but another block. Two strips of A, the second `a_next` numbers behind the first; likewise two of B.
// Inside of an AmxTiles.
VLM2VEC_INLINE void begin_amx(const AmxBlock& c, bool add) {
#if defined(VLM2VEC_EMULATE_AMX)
  for (int64_t i = 0; i < kAmxSide && !add; ++i)
    for (int64_t j = 0; j < kAmxSide; ++j)
      c.first[i / kTileSide * c.below + j / kTileSide * c.right + i % kTileSide * c.row + j % kTileSide] = 0;
#else
  if (add) {
    const int64_t row = c.row * int64_t(sizeof(float));
    load_tile<0>(c.first, row);
    load_tile<1>(c.first + c.right, row);
    load_tile<2>(c.first + c.below, row);
    load_tile<3>(c.first + c.below + c.right, row);
  } else {
    zero_tile<0>();
    zero_tile<1>();
    zero_tile<2>();
    zero_tile<3>();
  }
#endif
}

VLM2VEC_INLINE void step_amx([[maybe_unused]] const AmxBlock& c, const bf16* a, int64_t a_next, const bf16* b,
                             int64_t b_next) {
#if defined(VLM2VEC_EMULATE_AMX)
  for (int64_t i = 0; i < kAmxSide; ++i)
    for (int64_t j = 0; j < kAmxSide; ++j) {
      float& sum = c.first[i / kTileSide * c.below + j / kTileSide * c.right + i % kTileSide * c.row + j % kTileSide];
      const bf16* a_i = a + i / kTileSide * a_next + i % kTileSide * kTileDepth;
      const bf16* b_j = b + j / kTileSide * b_next + j % kTileSide * 2;
      for (int64_t k = 0; k < kTileDepth; ++k) sum += to_float(a_i[k]) * to_float(b_j[k / 2 * kTileDepth + k % 2]);
    }
#else
  load_tile<4>(a, 64);
  load_tile<5>(b, 64);
  add_tile_product<0, 4, 5>();
  load_tile<6>(b + b_next, 64);
  add_tile_product<1, 4, 6>();
  load_tile<7>(a + a_next, 64);
  add_tile_product<2, 7, 5>();
  add_tile_product<3, 7, 6>();
#endif
}

VLM2VEC_INLINE void end_amx([[maybe_unused]] const AmxBlock& c) {
#if !defined(VLM2VEC_EMULATE_AMX)
  const int64_t row = c.row * int64_t(sizeof(float));
  store_tile<0>(c.first, row);
  store_tile<1>(c.first + c.right, row);
  store_tile<2>(c.first + c.below, row);
  store_tile<3>(c.first + c.below + c.right, row);
#endif
}

// c (kAmxSide, kAmxSide) = or += A · B over `steps` tiles of depth, in both one behind the other.
static inline void multiply_amx(const AmxBlock& c, const bf16* a, int64_t a_next, const bf16* b, int64_t b_next,
                                int64_t steps, bool add) {
  begin_amx(c, add);
  for (int64_t s = 0; s < steps; ++s) step_amx(c, a + s * kTileNumbers, a_next, b + s * kTileNumbers, b_next);
  end_amx(c);
}
static inline void multiply_amx(float* c, int64_t c_stride, const bf16* a, int64_t a_next, const bf16* b,
                                int64_t b_next, int64_t steps, bool add) {
  multiply_amx(amx_rows(c, c_stride), a, a_next, b, b_next, steps, add);
}

// ---------------------------------------------------------------------------------------------------------------------
// Packing. What lies beyond rows, columns and depth is zero.

// `rows` rows of `depth` numbers, row(i) where row i begins, as a strip of A: rows <= kTileSide.
template <typename Row>
static inline void pack_amx_rows(bf16* to, int64_t rows, int64_t depth, const Row& row) {
  for (int64_t i = 0; i < kTileSide; ++i)
    for (int64_t k = 0; k < depth; k += kTileDepth) {
      bf16* line = to + k / kTileDepth * kTileNumbers + i * kTileDepth;
      const int64_t count = i < rows ? smaller(kTileDepth, depth - k) : 0;
      if (count == kTileDepth) {
        __builtin_memcpy(line, row(i) + k, 64);
        continue;
      }
      __builtin_memset(line, 0, 64);
      if (count > 0) __builtin_memcpy(line, row(i) + k, size_t(count) * sizeof(bf16));
    }
}

// The same rows as a strip of B, whose columns they become.
template <typename Row>
static inline void pack_amx_columns(bf16* to, int64_t rows, int64_t depth, const Row& row) {
  for (int64_t k = 0; k < depth; k += kTileDepth) {
    Floats words[kTileSide];
    for (int64_t i = 0; i < kTileSide; ++i) {
      const int64_t count = i < rows ? smaller(kTileDepth, depth - k) : 0;
      words[i] = Floats{};
      if (count == kTileDepth)
        __builtin_memcpy(&words[i], row(i) + k, 64);
      else if (count > 0)
        __builtin_memcpy(&words[i], row(i) + k, size_t(count) * sizeof(bf16));
    }
    transpose(words);
    __builtin_memcpy(to + k / kTileDepth * kTileNumbers, words, sizeof words);
  }
}

// `columns` columns of `depth` rows as a strip of B, or, turned, as one of A: columns <= kTileSide.
template <bool turned = false, typename Row>
static inline void pack_amx_depth(bf16* to, int64_t columns, int64_t depth, const Row& row) {
  const auto numbers = [&](int64_t k) { return k < depth ? (Words)load(row(k), int(columns)) : Words{}; };
  for (int64_t k = 0; k < depth; k += kTileDepth) {
    Floats words[kTileSide];
#pragma GCC unroll 16
    for (int64_t pair = 0; pair < kTileSide; ++pair)
      words[pair] = (Floats)(numbers(k + 2 * pair) >> 16 | numbers(k + 2 * pair + 1));
    if (turned) transpose(words);
    __builtin_memcpy(to + k / kTileDepth * kTileNumbers, words, sizeof words);
  }
}

#endif

}  // namespace vlm2vec::VLM2VEC_ISA
