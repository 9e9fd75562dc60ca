#include <omp.h>

#include "ops/attention_tiles.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename Op>
static int64_t packed_floats_of(int64_t length, int64_t HS) {
  return columns_floats<Op>(length, HS) + depth_floats<Op>(length, HS);
}

static int64_t packed_floats(int64_t length, int64_t HS) { return packed_floats_of<Singles>(length, HS); }

template <typename Op, typename Number>
static void pack_of(const AttentionProblem& problem) {
  parallel_for_dynamic(problem.threads, problem.pair_count, [&](int64_t i) {
    const AttentionPair& pair = problem.pairs[i];
    pack_as_columns<Op>(pair.packed, rows_of<Number>(problem.k, problem, pair, 1), pair.length);
    pack_as_depth<Op>(pair.packed + columns_floats<Op>(pair.length, problem.HS),
                      rows_of<Number>(problem.v, problem, pair, 1), 0, pair.length);
  });
}

static void pack(const AttentionProblem& problem) {
  problem.type == DType::BF16 ? pack_of<Halved, bf16>(problem) : pack_of<Singles, float>(problem);
}

// Keys at a time; a tile of rows keeps its scores in L1.
constexpr int64_t kForwardKeys = 2 * kKeys, kForwardStride = kForwardKeys + 16;

struct ForwardScratch {
  float *q, *scores, *out, *highest, *sum;
  ForwardScratch(float* scratch, int64_t HS) {
    q = scratch;
    scores = q + rows_floats<Singles>(HS);
    out = scores + padded(kRows * kForwardStride);
    highest = out + kQueryRows * wide(HS);
    sum = highest + kQueryRows + kLanes;
  }
};

static int64_t forward_floats(int64_t HS) {
  return rows_floats<Singles>(HS) + padded(kRows * kForwardStride) + kQueryRows * wide(HS) + 2 * (kQueryRows + kLanes);
}

// Lanes from n on become `other`.
static inline Floats first_lanes(Floats x, int n, float other) {
  for (int i = n; i < kLanes; ++i) x[i] = other;
  return x;
}

// f(j, n) for vectors of n scores of a row.
template <typename F>
VLM2VEC_INLINE void each_score(int64_t valid, const F& f) {
  int64_t j = 0;
  for (; j + kLanes <= valid; j += kLanes) f(j, kLanes);
  if (j < valid) f(j, int(valid - j));
}

// Lane i: what `join` makes of the lanes of rows[i].
template <typename Join>
VLM2VEC_INLINE Floats join_lanes(Floats (&rows)[kLanes], const Join& join) {
  transpose(rows);
#pragma GCC unroll 4
  for (int step = kLanes / 2; step > 0; step /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < step; ++i) rows[i] = join(rows[i], rows[i + step]);
  return rows[0];
}

// Scores of a tile of rows become the words of 2^(scale s - highest), 0 from what a row sees up to `width`; the maxima
// and sums of its rows go on, and what is there of their results is multiplied by what the new maxima take away. All
// rows at once: one alone would wait for its own maximum and sum.
template <typename Op>
static void soften(const AttentionTiles& tiles, const ForwardScratch& scratch, int64_t first, int64_t width,
                   float scale) {
  const int64_t rows = smaller(kRows, tiles.rows - first);
  Floats lines[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    lines[i] = broadcast(-kInfinity);
    const float* scores = scratch.scores + i * kForwardStride;
    if (i < rows)
      each_score(tiles.visible(first + i), [&](int64_t j, int n) {
        const Floats s = load(scores + j);
        lines[i] = max(n == kLanes ? s : first_lanes(s, n, -kInfinity), lines[i]);
      });
  }
  float shifts[kLanes], factors[kLanes];
  const Floats before = load(scratch.highest + first);
  const Floats scaled = broadcast(scale) * join_lanes(lines, max);
  const Floats raised = scaled > before ? scaled : before, factor = exp2(before - raised);
  store(scratch.highest + first, raised, kRows);  // the lanes after them are the next tile's
  store(shifts, -raised);
  store(factors, factor);
  for (int64_t i = 0; i < kLanes; ++i) {
    lines[i] = Floats{};
    if (i >= rows) continue;
    float* scores = scratch.scores + i * kForwardStride;
    const Floats shift = broadcast(shifts[i]);
    const int64_t valid = tiles.visible(first + i);
    each_score(valid, [&](int64_t j, int n) {
      const Floats s = load(scores + j);
      const Floats p = exp2(multiply_add(n == kLanes ? s : first_lanes(s, n, -kInfinity), broadcast(scale), shift));
      store_words<Op>(scores + j / Op::kNumbers, p);
      lines[i] += p;
    });
    for (int64_t j = round_up(valid, kLanes); j < width; j += kLanes)
      store_words<Op>(scores + j / Op::kNumbers, Floats{});
  }
  const Floats totals = join_lanes(lines, [](Floats a, Floats b) { return a + b; });
  store(scratch.sum + first, multiply_add(load(scratch.sum + first), factor, totals), kRows);
  if (tiles.key == 0) return;
  for (int64_t i = 0; i < rows; ++i) {
    if (factors[i] == 1.0f) continue;
    float* out = scratch.out + (first + i) * wide(tiles.HS);
    for (int64_t c = 0; c < tiles.HS; c += kLanes) store(out + c, load(out + c) * broadcast(factors[i]));
  }
}

// A tile of rows, from `first` on, against a block of keys.
template <typename Op>
static void forward_tile(const AttentionTiles& tiles, const ForwardScratch& scratch, const float* k, const float* v,
                         int64_t length, int64_t first, float scale) {
  const int64_t HS = tiles.HS, depth = words<Op>(HS), stride = wide(HS), seen = tiles.visible_to_tile(first);
  if (seen <= 0) return;
  for (int64_t j = 0; j < seen; j += kColumns)
    multiply_panel<1, kRows, Op, Operands::StreamedB>(scratch.scores + j, kForwardStride, scratch.q + first * depth,
                                                      k + (tiles.place + j) * depth, depth, false, tiles.keys - j);
  soften<Op>(tiles, scratch, first, seen, scale);
  for (int64_t c = 0; c < HS; c += kColumns)
    multiply_panel<kForwardStride, 1, Op, Operands::StreamedB>(
        scratch.out + first * stride + c, stride, scratch.scores,
        v + c * words<Op>(length) + tiles.place / Op::kNumbers * kColumns, words<Op>(seen), tiles.key > 0, HS - c);
}

template <typename Op, typename Number>
static void forward_block(const AttentionProblem& problem, const AttentionBlock& block, const ForwardScratch& scratch) {
  const AttentionPair& pair = problem.pairs[block.pair];
  const int64_t HS = problem.HS, group = problem.group;
  const int64_t first = block.block * kQueryRows, rows = smaller(kQueryRows, pair.length * group - first);
  pack_as_rows<Op>(scratch.q, rows_of<Number>(problem.q, problem, pair, group), first, rows);
  for (int64_t i = 0; i < kQueryRows + kLanes; ++i) scratch.highest[i] = -kInfinity, scratch.sum[i] = 0;
  const int64_t keys = problem.causal ? (first + rows - 1) / group + 1 : pair.length;
  const float *k = pair.packed, *v = k + columns_floats<Op>(pair.length, HS);
  for (int64_t key = 0; key < keys; key += kForwardKeys) {
    const AttentionTiles tiles = {HS, group, problem.causal, first, rows, key, smaller(kForwardKeys, keys - key), key};
    for (int64_t i = 0; i < rows; i += kRows)
      forward_tile<Op>(tiles, scratch, k, v, pair.length, i, problem.scale * kLog2E);
  }
  const HeadRows<Number> out = output_rows<Number>(problem.out, problem, pair, group);
  for (int64_t i = 0; i < rows; ++i) {
    scatter(out, first + i, 1, scratch.out + i * wide(HS), 0, 1 / scratch.sum[i]);
    const int64_t token = (first + i) / group, head = pair.head * group + (first + i) % group;
    problem.lse[head * problem.T + pair.start + token] =
        float(double(scratch.highest[i]) * 0.693147180559945309 + __builtin_log(double(scratch.sum[i])));
  }
}

static void forward(const AttentionProblem& problem) {
  parallel_for_dynamic(problem.threads, problem.block_count, [&](int64_t i) {
    const ForwardScratch scratch(problem.scratch + omp_get_thread_num() * forward_floats(problem.HS), problem.HS);
    if (problem.type == DType::BF16)
      forward_block<Halved, bf16>(problem, problem.blocks[i], scratch);
    else
      forward_block<Singles, float>(problem, problem.blocks[i], scratch);
  });
}

extern const AttentionForwardKernels attention_forward_kernels = {packed_floats, forward_floats, pack, forward,
                                                                  nullptr};

}  // namespace vlm2vec::VLM2VEC_ISA
