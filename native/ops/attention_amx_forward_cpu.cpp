// Attention of bf16, forward, by AMX's tiles. As attention_forward_cpu.cpp, but that blocks of 32 rows meet 128 keys,
// that the weights of the values are rounded to bf16, and that while the scores of a block become weights, tiles
// multiply the weights before them with their values, and make the scores after them.
#include <omp.h>

#include "ops/attention_amx.h"

#if defined(VLM2VEC_HAS_AMX)

namespace vlm2vec::VLM2VEC_ISA {

// Keys at a time: scores of two blocks of rows fill two thirds of an L1 of 48 KiB.
constexpr int64_t kAmxKeys = 128;
// Keys, and values, that stay in L2 while the rows of a block go by; results of 32 rows stay in L1 while keys go by.
constexpr int64_t kAmxChunk = 1024;
constexpr int64_t kScoreStrip = kAmxKeys * kTileSide;  // floats
static_assert(kQueryRows % kAmxSide == 0 && kAmxKeys % kAmxSide == 0, "blocks do not divide");

// Keys and values of a pair: strips of B, 16 keys each and the head size deep; 16 channels each and the keys deep.
static int64_t half_packed(int64_t length, int64_t HS) { return whole_tiles(length) * whole_tiles(HS); }

static int64_t packed_floats(int64_t length, int64_t HS) { return half_packed(length, HS); }

static void pack_pair(const AttentionProblem& problem, const AttentionPair& pair) {
  bf16* to = reinterpret_cast<bf16*>(pair.packed);
  pack_strips_of_b(to, rows_of<bf16>(problem.k, problem, pair, 1), 0, pair.length);
  pack_channels(to + half_packed(pair.length, problem.HS), whole_tiles(pair.length),
                rows_of<bf16>(problem.v, problem, pair, 1), 0, pair.length);
}

struct AmxForwardScratch {
  float* scores[2];          // of 32 rows, two strips each
  float* out;                // strips of tiles, one for 16 rows
  float* sums;               // lane by lane, of the rows
  float *highest, *factors;  // of the rows; what the latest scores made of the results before
  bf16* q;                   // strips of A
  AmxForwardScratch(float* scratch, int64_t HS) {
    scores[0] = scratch, scores[1] = scores[0] + 2 * kScoreStrip;
    out = scores[1] + 2 * kScoreStrip;
    sums = out + kQueryRows * whole_tiles(HS);
    highest = sums + kQueryRows * kLanes;
    factors = highest + kQueryRows;
    q = reinterpret_cast<bf16*>(factors + kQueryRows);
  }
};

static int64_t amx_forward_floats(int64_t HS) {
  return 4 * kScoreStrip + kQueryRows * (whole_tiles(HS) + kLanes + 2 + whole_tiles(HS) / 2);
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

// The weights of a row and `count` vectors of keys, 2^(scale s - highest), rounded to bf16. Their sum, unrounded.
template <int count>
VLM2VEC_INLINE Floats soften_keys(float* to, const float* scores, Floats scale, Floats shift) {
  Floats x[count];
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) x[i] = multiply_add(load(scores + i * kTileFloats), scale, shift);
  exp2(x);
#pragma GCC unroll 4
  for (int i = 0; i < count; i += 2) store(to + i / 2 * kTileFloats, rounded(x[i], x[i + 1]));
#pragma GCC unroll 8
  for (int i = 1; i < count; ++i) x[0] += x[i];
  return x[0];
}

// Those of all keys, of which the row sees `valid`; 0 from there up to `width`. `sum` and theirs.
VLM2VEC_INLINE Floats soften_row(float* scores, int64_t valid, int64_t width, Floats scale, Floats shift, Floats sum) {
  float* to = scores;  // half as long
  int64_t j = 0;
  const auto next = [&](int64_t keys) { j += keys, scores += keys * kTileSide, to += keys / 2 * kTileSide; };
  for (; j + 8 * kLanes <= valid; next(8 * kLanes)) sum += soften_keys<8>(to, scores, scale, shift);
  for (; j + 2 * kLanes <= valid; next(2 * kLanes)) sum += soften_keys<2>(to, scores, scale, shift);
  if (j < valid) {
    const Floats none = broadcast(-kInfinity);
    const Floats s = _mm512_mask_mov_ps(none, lanes_mask(valid - j), load(scores));
    const Floats t = _mm512_mask_mov_ps(none, lanes_mask(valid - j - kLanes), load(scores + kTileFloats));
    const Floats low = exp2(multiply_add(s, scale, shift)), high = exp2(multiply_add(t, scale, shift));
    store(to, rounded(low, high));
    sum += low;
    sum += high;
    next(2 * kLanes);
  }
  for (; j < width; next(2 * kLanes)) store(to, Floats{});
  return sum;
}

// Scores of a strip become weights; the maxima and sums of its rows go on. After each row `pace` steps of the queue.
static void soften_strip(const AmxItem& item, const AmxForwardScratch& scratch, int64_t first, float scale,
                         AmxQueue& queue, int64_t pace) {
  const int64_t row = item.row + first;
  float* scores = scratch.scores[item.turn] + first * kAmxKeys;
  int64_t seen[kLanes];
  visible_to_rows(item.tiles, row, seen);
  const Floats before = load(scratch.highest + row);
  const Floats scaled = broadcast(scale) * highest_of(scores, seen, item.width);
  const Floats raised = scaled > before ? scaled : before, factor = exp2(before - raised);
  store(scratch.highest + row, raised);
  store(scratch.factors + row, factor);
  queue.advance(pace);
  for (int64_t i = 0; i < smaller(kLanes, item.tiles.rows - row); ++i) {
    float* sum = scratch.sums + (row + i) * kLanes;
    store(sum, soften_row(scores + i * kLanes, seen[i], item.width, broadcast(scale),
                          broadcast(-scratch.highest[row + i]), load(sum) * broadcast(scratch.factors[row + i])));
    queue.advance(pace);
  }
}

// Results before are multiplied by what the new maxima take away.
static void rescale(const AmxItem& item, const AmxForwardScratch& scratch) {
  if (item.tiles.key == 0) return;
  for (int64_t row = item.row; row < smaller(item.row + kAmxSide, item.tiles.rows); row += kTileSide) {
    if (_mm512_cmp_ps_mask(load(scratch.factors + row), broadcast(1), _CMP_NEQ_UQ) == 0) continue;
    float* out = scratch.out + row * whole_tiles(item.tiles.HS);
    for (int64_t c = 0; c < item.tiles.HS; c += kTileSide, out += kTileFloats)
      for (int64_t i = 0; i < kLanes; ++i)
        store(out + i * kLanes, load(out + i * kLanes) * broadcast(scratch.factors[row + i]));
  }
}

namespace {

// What is asked for ahead: queries of the next block, keys and values of the next pair.
constexpr int kAhead = 3;

// A block of query rows. k, v: as packed, `length` whole tiles of keys.
struct AmxForward {
  const AmxForwardScratch& scratch;
  const bf16 *k, *v;
  int64_t depth, length;
  float scale;
  AmxAhead* ahead;

  AmxProducts scores_of(const AmxItem& item) const {
    const int64_t strip = kTileSide * depth;
    AmxProducts s = {};
    s.c = scratch.scores[item.turn], s.strip = kScoreStrip;
    s.a = scratch.q + item.row * depth, s.a_next = strip;
    s.b = k + item.tiles.key * depth, s.b_next = strip;
    s.steps = depth / kTileDepth, s.blocks = item.width / kAmxSide;
    return s;
  }
  AmxProducts results_of(const AmxItem& item) const {
    AmxProducts s = {};
    s.c = scratch.out + item.row * depth, s.strip = kTileSide * depth;
    s.a = reinterpret_cast<const bf16*>(scratch.scores[item.turn]), s.a_next = 2 * kScoreStrip;
    s.b = v + item.tiles.key * kTileSide, s.b_next = kTileSide * length;
    s.steps = item.width / kTileDepth, s.blocks = depth / kAmxSide, s.add = item.tiles.key > 0;
    return s;
  }
  // The weights of `item`, and meanwhile the results of the item before and the scores of the one after it.
  void operator()(const AmxItem& item, const AmxItem* before, const AmxItem* after) const {
    for (int i = 0; i < kAhead; ++i) ahead[i].some();
    AmxQueue queue;
    if (before)
      queue.add(results_of(*before));
    else
      scores_of(item).all();
    if (after) queue.add(scores_of(*after));
    const int64_t rows = smaller(kAmxSide, item.tiles.rows - item.row), strips = (rows + kTileSide - 1) / kTileSide;
    const int64_t pace = (queue.left() + rows + strips - 1) / (rows + strips);
    for (int64_t i = 0; i < rows; i += kTileSide) soften_strip(item, scratch, i, scale, queue, pace);
    queue.advance(queue.left());
    rescale(item, scratch);
    if (!after) results_of(item).all();
  }
};

}  // namespace

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
      write_row(out(first + row + i), problem.HS, scratch.out + row * depth + i * kTileSide, shares[i]);
      const uint32_t r = uint32_t(first + row + i), group = uint32_t(problem.group);
      problem.lse[(pair.head * group + r % group) * problem.T + pair.start + r / group] =
          float(double(scratch.highest[row + i]) * 0.693147180559945309 + __builtin_log(double(sums[i])));
    }
  }
}

static void amx_forward_block(const AttentionProblem& problem, const AttentionPair& pair, int64_t block,
                              const AmxForwardScratch& scratch, AmxAhead (&ahead)[kAhead]) {
  const int64_t HS = problem.HS, group = problem.group;
  const int64_t first = block * kQueryRows, rows = smaller(kQueryRows, pair.length * group - first);
  pack_strips_of_a(scratch.q, rows_of<bf16>(problem.q, problem, pair, group), first, rows);
  for (int64_t i = 0; i < kQueryRows; ++i) scratch.highest[i] = -kInfinity;
  std::memset(scratch.sums, 0, size_t(kQueryRows * kLanes) * sizeof(float));
  const int64_t keys = problem.causal ? (first + rows - 1) / group + 1 : pair.length;
  const bf16 *k = reinterpret_cast<const bf16*>(pair.packed), *v = k + half_packed(pair.length, HS);
  each_amx_item(problem, first, rows, 0, keys, kAmxKeys, kAmxChunk,
                AmxForward{scratch, k, v, whole_tiles(HS), whole_tiles(pair.length), problem.scale * kLog2E, ahead});
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
    AmxAhead nothing[kAhead] = {};
    amx_forward_block(problem, problem.pairs[block.pair], block.block,
                      AmxForwardScratch(problem.scratch + omp_get_thread_num() * floats, problem.HS), nothing);
  });
}

static void forward_pairs(const AttentionProblem& problem, int64_t thread_floats) {
  parallel_for_dynamic(problem.threads, problem.pair_count, [&](int64_t i) {
    const AmxTiles configured;
    float* memory = problem.scratch + omp_get_thread_num() * thread_floats;
    AttentionPair pair = problem.pairs[i];
    pair.packed = memory + amx_forward_floats(problem.HS);
    pack_pair(problem, pair);
    AmxAhead ahead[kAhead] = {};
    const int64_t rows = pair.length * problem.group, blocks = (rows + kQueryRows - 1) / kQueryRows;
    const int64_t items = (rows + kAmxSide - 1) / kAmxSide * ((pair.length + kAmxKeys - 1) / kAmxKeys);
    if (const int64_t next = i + problem.threads; next < problem.pair_count) {  // the likely one
      const AttentionPair& other = problem.pairs[next];
      const int64_t share = ((problem.causal ? 2 : 1) * other.length + items - 1) / items;
      ahead[1] = {rows_of<bf16>(problem.k, problem, other, 1), 0, other.length, share};
      ahead[2] = {rows_of<bf16>(problem.v, problem, other, 1), 0, other.length, share};
    }
    for (int64_t block = 0; block < blocks; ++block) {
      ahead[0] = {rows_of<bf16>(problem.q, problem, pair, problem.group), (block + 1) * kQueryRows,
                  smaller(rows, (block + 2) * kQueryRows), kAmxSide};
      amx_forward_block(problem, pair, block, AmxForwardScratch(memory, problem.HS), ahead);
    }
  });
}

extern const AttentionForwardKernels attention_amx_forward_kernels = {packed_floats, amx_forward_floats, pack, forward,
                                                                      forward_pairs};

}  // namespace vlm2vec::VLM2VEC_ISA

#endif
