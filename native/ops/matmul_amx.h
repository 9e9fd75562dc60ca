// Products of bf16 by AMX tiles, for matmul_cpu.cpp. out = x · right: a block of rows of x is packed once; groups of
// panels of the weight, kAmxSide columns each, are packed part by part, straight from where it lies, and meet the tiles
// of rows. A part of 32 rows stays in L1 while the panels of a group pass by from L2.
#pragma once
#include <omp.h>

#include "core/parallel.h"
#include "ops/amx.h"
#include "ops/matmul_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

#if defined(VLM2VEC_HAS_AMX)

struct AmxBlocking {
  static constexpr int64_t kMostRows = 1024, kMostPanels = 4, kPart = 512;

  explicit AmxBlocking(const PackedProduct& product) {
    rows = smaller(kMostRows, round_up(product.rows, kAmxSide));
    for (const Term& term : product.terms)
      if (term.x) depth += padded_depth(term);
    const int64_t all = (product.columns + kAmxSide - 1) / kAmxSide;
    panels = larger(1, smaller(kMostPanels, all / (2 * product.threads)));
    groups = (all + panels - 1) / panels;
    left = rows * depth;
    sums = panels * rows * kAmxSide;
    thread = sums + panels * kAmxSide * kPart / 2;
  }
  static int64_t padded_depth(const Term& term) { return round_up(term.right.depth(), kTileDepth); }

  int64_t rows, depth = 0;
  int64_t panels, groups;  // panels of a group
  int64_t left;            // numbers of x, bf16
  int64_t sums, thread;    // words of each thread: f32 sums; those and one part of its panels
};

static bool takes_amx(const PackedProduct& product) {
  if (!product.tiles || product.x_type != DType::BF16) return false;
  for (const Term& term : product.terms)
    if (term.x && (term.right.kind != RightFactor::Kind::Plain || term.right.type != DType::BF16)) return false;
  return true;
}

static bool takes_amx(const WeightProduct& product) { return product.tiles && product.type == DType::BF16; }

static size_t amx_scratch_bytes(const PackedProduct& product) {
  const AmxBlocking blocking(product);
  return size_t(blocking.left) * sizeof(bf16) + size_t(product.threads * blocking.thread) * sizeof(float);
}

// Lines [k, k + depth) of a panel as two strips of B, `next` numbers apart.
static void pack_amx_panel(bf16* to, int64_t next, const RightFactor& w, int64_t panel, int64_t k, int64_t depth) {
  const bf16* data = static_cast<const bf16*>(w.data);
  for (int64_t half = 0; half < 2; ++half, to += next) {
    const int64_t first = panel * kAmxSide + half * kTileSide;
    const int64_t width = larger(0, smaller(kTileSide, w.columns() - first));
    if (w.transposed)
      pack_amx_columns(to, width, depth, [=](int64_t j) { return data + (first + j) * w.k + k; });
    else
      pack_amx_depth(to, width, depth, [=](int64_t i) { return data + (k + i) * w.k + first; });
  }
}

template <typename Write>
static void multiply_amx_group(const PackedProduct& product, const AmxBlocking& blocking, int64_t rows, int64_t group,
                               const Write& write) {
  const int64_t first = group * blocking.panels, all = (product.columns + kAmxSide - 1) / kAmxSide;
  const int64_t panels = smaller(blocking.panels, all - first), tiles = (rows + kAmxSide - 1) / kAmxSide;
  const bf16* a = reinterpret_cast<const bf16*>(product.scratch);
  float* sums = product.scratch + blocking.left / 2 + omp_get_thread_num() * blocking.thread;
  bf16* b = reinterpret_cast<bf16*>(sums + blocking.sums);
  const AmxTiles configured;
  int64_t done = 0;
  for (const Term& term : product.terms) {
    if (!term.x) continue;
    const int64_t depth = AmxBlocking::padded_depth(term);
    for (int64_t k = 0; k < depth; k += AmxBlocking::kPart) {
      const int64_t block = smaller(AmxBlocking::kPart, depth - k), strip = block * kTileSide;
      for (int64_t p = 0; p < panels; ++p)
        pack_amx_panel(b + 2 * p * strip, strip, term.right, first + p, k, smaller(block, term.right.depth() - k));
      const bool add = done > 0, last = (done += block) == blocking.depth;
      for (int64_t t = 0; t < tiles; ++t)
        for (int64_t p = 0; p < panels; ++p) {
          float* c = sums + (t * panels + p) * kAmxSide * kAmxSide;
          multiply_amx(c, kAmxSide, a + (2 * t * depth + k) * kTileSide, depth * kTileSide, b + 2 * p * strip, strip,
                       block / kTileDepth, add);
          if (last) write(c, t * kAmxSide, smaller(kAmxSide, rows - t * kAmxSide), (first + p) * kAmxSide);
        }
    }
    a += 2 * tiles * kTileSide * depth;
  }
}

// write(c, row, rows, column): a block of sums (kAmxSide, kAmxSide) goes to out from (row, column) on.
template <typename Write>
static void multiply_by_amx(const PackedProduct& product, const Write& write) {
  const AmxBlocking blocking(product);
  for (int64_t row = 0; row < product.rows; row += blocking.rows) {
    const int64_t rows = smaller(blocking.rows, product.rows - row), strips = round_up(rows, kAmxSide) / kTileSide;
    bf16* a = reinterpret_cast<bf16*>(product.scratch);
    for (const Term& term : product.terms) {
      if (!term.x) continue;
      const int64_t depth = term.right.depth(), padded = AmxBlocking::padded_depth(term);
      const bf16* x = static_cast<const bf16*>(term.x) + row * depth;
      parallel_for(product.threads, strips, [=](int64_t s) {
        pack_amx_rows(a + s * kTileSide * padded, larger(0, smaller(kTileSide, rows - s * kTileSide)), depth,
                      [=](int64_t i) { return x + (s * kTileSide + i) * depth; });
      });
      a += strips * kTileSide * padded;
    }
    parallel_for_dynamic(product.threads, blocking.groups, [&](int64_t group) {
      multiply_amx_group(
          product, blocking, rows, group,
          [&](const float* c, int64_t at, int64_t count, int64_t column) { write(c, row + at, count, column); });
    });
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// dweight += doutᵀ · x: the sum runs over rows, packed kAmxSumBlock at a time

constexpr int64_t kAmxSumBlock = 512;

static int64_t padded_rows(const WeightProduct& product) {
  return round_up(smaller(kAmxSumBlock, product.m), kTileDepth);
}

static size_t amx_weight_scratch_bytes(const WeightProduct& product) {
  const int64_t sides = round_up(product.n, kAmxSide) + round_up(product.k, kAmxSide);
  return size_t(sides * padded_rows(product)) * sizeof(bf16);
}

static void multiply_weight_by_amx(const WeightProduct& product) {
  const int64_t n = product.n, k = product.k;
  const int64_t n_strips = round_up(n, kAmxSide) / kTileSide, k_strips = round_up(k, kAmxSide) / kTileSide;
  for (int64_t m = 0; m < product.m; m += kAmxSumBlock) {
    const int64_t depth = smaller(kAmxSumBlock, product.m - m), strip = round_up(depth, kTileDepth) * kTileSide;
    const bf16* dout = static_cast<const bf16*>(product.dout) + m * n;
    const bf16* x = static_cast<const bf16*>(product.x) + m * k;
    bf16* a = reinterpret_cast<bf16*>(product.scratch);
    bf16* b = a + n_strips * strip;
    parallel_for(product.threads, n_strips + k_strips, [=](int64_t i) {
      const bool left = i < n_strips;
      const int64_t all = left ? n : k, first = (left ? i : i - n_strips) * kTileSide;
      const int64_t width = larger(0, smaller(kTileSide, all - first));
      const auto row = [=](int64_t r) { return (left ? dout : x) + r * all + first; };
      if (left)
        pack_amx_depth<true>(a + i * strip, width, depth, row);
      else
        pack_amx_depth(b + (i - n_strips) * strip, width, depth, row);
    });
    // 32 rows of dweight by 256 columns at a time
    constexpr int64_t kGroup = 16;
    const int64_t groups = (k_strips + kGroup - 1) / kGroup;
    parallel_for_dynamic(product.threads, n_strips / 2 * groups, [=](int64_t unit) {
      const AmxTiles configured;
      const int64_t i = unit / groups * 2, begin = unit % groups * kGroup, end = smaller(k_strips, begin + kGroup);
      for (int64_t j = begin; j < end; j += 2) {
        const int64_t rows = smaller(kAmxSide, n - i * kTileSide), columns = smaller(kAmxSide, k - j * kTileSide);
        float* to = product.dweight + i * kTileSide * k + j * kTileSide;
        const bf16 *left = a + i * strip, *right = b + j * strip;
        const int64_t steps = strip / kTileNumbers;
        if (rows == kAmxSide && columns == kAmxSide) {
          multiply_amx(to, k, left, strip, right, strip, steps, true);
          continue;
        }
        alignas(64) float sums[kAmxSide * kAmxSide];
        multiply_amx(sums, kAmxSide, left, strip, right, strip, steps, false);
        for (int64_t y = 0; y < rows; ++y)
          for (int64_t x = 0; x < columns; ++x) to[y * k + x] += sums[y * kAmxSide + x];
      }
    });
  }
}

#endif

}  // namespace vlm2vec::VLM2VEC_ISA
