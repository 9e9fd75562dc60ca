// Attention of bf16, forward, by AMX's tiles. As attention_forward_cpu.cpp, but that blocks of 32 rows meet 256 keys,
// and that the weights of the values are rounded to bf16.
#include <omp.h>

#include "ops/attention_amx.h"

#if defined(__AVX512F__) && !defined(VLM2VEC_HAS_PAIRS)

namespace vlm2vec::VLM2VEC_ISA {

// Keys at a time: scores of a block of rows fill two thirds of an L1 of 48 KiB.
constexpr int64_t kAmxKeys = 256;
constexpr int64_t kScoreStrip = kAmxKeys * kTileSide;  // floats
static_assert(kQueryRows % kAmxSide == 0 && kAmxKeys % kAmxSide == 0, "blocks do not divide");

// Keys and values of a pair: strips of B, 16 keys each and the head size deep; 16 channels each and the keys deep.
static int64_t half_packed(int64_t length, int64_t HS) { return whole_tiles(length) * whole_tiles(HS); }

static int64_t packed_floats(int64_t length, int64_t HS) { return half_packed(length, HS); }

static void pack_pair(const AttentionProblem& problem, const AttentionPair& pair) {
  bf16* to = reinterpret_cast<bf16*>(pair.packed);
  pack_strips_of_b(to, rows_of<bf16>(problem.k, problem, pair, 1), 0, pair.length);
  pack_channels_of_b(to + half_packed(pair.length, problem.HS), rows_of<bf16>(problem.v, problem, pair, 1), 0,
                     pair.length);
}

struct AmxForwardScratch {
  float* scores;  // two strips
  float* out;     // strips of tiles, one for 16 rows
  float* sums;    // lane by lane, of the rows
  float* highest;
  bf16* q;  // strips of A
  AmxForwardScratch(float* scratch, int64_t HS) {
    scores = scratch;
    out = scores + 2 * kScoreStrip;
    sums = out + kQueryRows * whole_tiles(HS);
    highest = sums + kQueryRows * kLanes;
    q = reinterpret_cast<bf16*>(highest + kQueryRows);
  }
};

static int64_t amx_forward_floats(int64_t HS) {
  return 2 * kScoreStrip + kQueryRows * (whole_tiles(HS) + kLanes + 1 + whole_tiles(HS) / 2);
}

// Lane i: the highest score of row i of a strip, which sees `seen[i]` keys: no fewer than the row before.
static Floats highest_of(const float* scores, const int64_t (&seen)[kLanes], int64_t width) {
  Floats lines[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) lines[i] = broadcast(-kInfinity);
  int64_t j = 0;
  for (; j + kLanes <= seen[0]; j += kLanes, scores += kTileFloats)
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) lines[i] = max(load(scores + i * kLanes), lines[i]);
  for (; j < width; j += kLanes, scores += kTileFloats)
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      lines[i] = _mm512_mask_max_ps(lines[i], lanes_mask(seen[i] - j), load(scores + i * kLanes), lines[i]);
  return join_rows(lines, [](Floats a, Floats b) { return max(a, b); });
}

// The weights of a row, 2^(scale s - highest), rounded to bf16; 0 from `valid` up to `width`. `sum`: of them unrounded.
VLM2VEC_INLINE Floats soften_row(float* scores, int64_t valid, int64_t width, Floats scale, Floats shift, Floats sum) {
  float* to = scores;  // half as long
  int64_t j = 0;
  for (; j + kTileDepth <= valid; j += kTileDepth, to += kTileFloats, scores += 2 * kTileFloats) {
    const Floats low = exp2(multiply_add(load(scores), scale, shift));
    const Floats high = exp2(multiply_add(load(scores + kTileFloats), scale, shift));
    store(to, rounded(low, high));
    sum += low;
    sum += high;
  }
  if (j < valid) {
    const Floats none = broadcast(-kInfinity);
    const Floats s = _mm512_mask_mov_ps(none, lanes_mask(valid - j), load(scores));
    const Floats t = _mm512_mask_mov_ps(none, lanes_mask(valid - j - kLanes), load(scores + kTileFloats));
    const Floats low = exp2(multiply_add(s, scale, shift)), high = exp2(multiply_add(t, scale, shift));
    store(to, rounded(low, high));
    sum += low;
    sum += high;
    j += kTileDepth, to += kTileFloats;
  }
  for (; j < width; j += kTileDepth, to += kTileFloats) store(to, Floats{});
  return sum;
}

// Scores of a strip become weights; the maxima and sums of its rows go on, and what is there of their results is
// multiplied by what the new maxima take away.
static void soften_strip(const AttentionTiles& tiles, const AmxForwardScratch& scratch, float* scores, int64_t row,
                         int64_t width, float scale) {
  int64_t seen[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) seen[i] = tiles.visible(row + i);
  const Floats before = load(scratch.highest + row);
  const Floats scaled = broadcast(scale) * highest_of(scores, seen, width);
  const Floats raised = scaled > before ? scaled : before, factor = exp2(before - raised);
  store(scratch.highest + row, raised);
  float shifts[kLanes], factors[kLanes];
  store(shifts, -raised);
  store(factors, factor);
  for (int64_t i = 0; i < kLanes; ++i) {
    float* sum = scratch.sums + (row + i) * kLanes;
    store(sum, soften_row(scores + i * kLanes, seen[i], width, broadcast(scale), broadcast(shifts[i]),
                          load(sum) * broadcast(factors[i])));
  }
  if (tiles.key == 0 || _mm512_cmp_ps_mask(factor, broadcast(1), _CMP_NEQ_UQ) == 0) return;
  float* out = scratch.out + row * whole_tiles(tiles.HS);
  for (int64_t c = 0; c < tiles.HS; c += kTileSide, out += kTileFloats)
    for (int64_t i = 0; i < kLanes; ++i) store(out + i * kLanes, load(out + i * kLanes) * broadcast(factors[i]));
}

// 32 rows, from `row` on, against a block of keys. v: the values of all of the pair, `length` deep.
static void amx_forward_tile(const AttentionTiles& tiles, const AmxForwardScratch& scratch, const bf16* k,
                             const bf16* v, int64_t length, int64_t row, float scale) {
  const int64_t depth = whole_tiles(tiles.HS), key = tiles.key;
  const int64_t width = whole_tiles(tiles.visible(row + kAmxSide - 1));
  if (width <= 0) return;
  for (int64_t j = 0; j < width; j += kAmxSide)
    multiply_amx(amx_tiles(scratch.scores + j * kTileSide, kScoreStrip), scratch.q + row * depth, kTileSide * depth,
                 k + (key + j) * depth, kTileSide * depth, depth / kTileDepth, false);
  for (int64_t i = 0; i < kAmxSide; i += kTileSide)
    soften_strip(tiles, scratch, scratch.scores + i * kAmxKeys, row + i, width, scale);
  const bf16* weights = reinterpret_cast<const bf16*>(scratch.scores);
  for (int64_t c = 0; c < depth; c += kAmxSide)
    multiply_amx(amx_tiles(scratch.out + row * depth + c * kTileSide, kTileSide * depth), weights, 2 * kScoreStrip,
                 v + c * length + key * kTileSide, kTileSide * length, width / kTileDepth, key > 0);
}

static void write_rows(const AttentionProblem& problem, const AttentionPair& pair, const AmxForwardScratch& scratch,
                       int64_t first, int64_t rows) {
  const HeadRows<bf16> out = output_rows<bf16>(problem.out, problem, pair, problem.group);
  const int64_t depth = whole_tiles(problem.HS);
  for (int64_t row = 0; row < rows; row += kTileSide) {
    Floats lines[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) lines[i] = load(scratch.sums + (row + i) * kLanes);
    float sums[kLanes], shares[kLanes];
    const Floats sum = join_rows(lines, [](Floats a, Floats b) { return a + b; });
    store(sums, sum);
    store(shares, 1 / sum);
    for (int64_t i = 0; i < smaller(kTileSide, rows - row); ++i) {
      bf16* to = out(first + row + i);
      const float* from = scratch.out + row * depth + i * kLanes;
      for (int64_t c = 0; c < problem.HS; c += kTileSide, from += kTileFloats)
        store(to + c, load(from) * broadcast(shares[i]), lanes(problem.HS - c));
      const int64_t token = (first + row + i) / problem.group;
      const int64_t head = pair.head * problem.group + (first + row + i) % problem.group;
      problem.lse[head * problem.T + pair.start + token] =
          float(double(scratch.highest[row + i]) * 0.693147180559945309 + __builtin_log(double(sums[i])));
    }
  }
}

static void amx_forward_block(const AttentionProblem& problem, const AttentionPair& pair, int64_t block,
                              const AmxForwardScratch& scratch) {
  const int64_t HS = problem.HS, group = problem.group;
  const int64_t first = block * kQueryRows, rows = smaller(kQueryRows, pair.length * group - first);
  pack_strips_of_a(scratch.q, rows_of<bf16>(problem.q, problem, pair, group), first, rows);
  for (int64_t i = 0; i < kQueryRows; ++i) scratch.highest[i] = -kInfinity;
  std::memset(scratch.sums, 0, size_t(kQueryRows * kLanes) * sizeof(float));
  const int64_t keys = problem.causal ? (first + rows - 1) / group + 1 : pair.length;
  const bf16 *k = reinterpret_cast<const bf16*>(pair.packed), *v = k + half_packed(pair.length, HS);
  for (int64_t key = 0; key < keys; key += kAmxKeys) {
    const AttentionTiles tiles = {HS, group, problem.causal, first, rows, key, smaller(kAmxKeys, keys - key), key};
    for (int64_t i = 0; i < rows; i += kAmxSide)
      amx_forward_tile(tiles, scratch, k, v, whole_tiles(pair.length), i, problem.scale * kLog2E);
  }
  write_rows(problem, pair, scratch, first, rows);
}

static void pack(const AttentionProblem& problem) {
  parallel_for_dynamic(problem.threads, problem.pair_count, [&](int64_t i) { pack_pair(problem, problem.pairs[i]); });
}

static void forward(const AttentionProblem& problem) {
  const int64_t floats = amx_forward_floats(problem.HS);
  parallel_for_dynamic(problem.threads, problem.block_count, [&](int64_t i) {
    const AmxTiles configured;
    const AttentionBlock& block = problem.blocks[i];
    amx_forward_block(problem, problem.pairs[block.pair], block.block,
                      AmxForwardScratch(problem.scratch + omp_get_thread_num() * floats, problem.HS));
  });
}

static void forward_pairs(const AttentionProblem& problem, int64_t thread_floats) {
  parallel_for_dynamic(problem.threads, problem.pair_count, [&](int64_t i) {
    const AmxTiles configured;
    float* memory = problem.scratch + omp_get_thread_num() * thread_floats;
    AttentionPair pair = problem.pairs[i];
    pair.packed = memory + amx_forward_floats(problem.HS);
    pack_pair(problem, pair);
    for (int64_t block = 0; block * kQueryRows < pair.length * problem.group; ++block)
      amx_forward_block(problem, pair, block, AmxForwardScratch(memory, problem.HS));
  });
}

extern const AttentionForwardKernels attention_amx_forward_kernels = {packed_floats, amx_forward_floats, pack, forward,
                                                                      forward_pairs};

}  // namespace vlm2vec::VLM2VEC_ISA

#endif
