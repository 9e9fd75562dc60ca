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

struct ForwardScratch {
  float *q, *scores, *out, *highest, *sum, *factor;
  ForwardScratch(float* scratch, int64_t HS) {
    q = scratch;
    scores = q + rows_floats<Singles>(HS);
    out = scores + kQueryRows * kStride;
    highest = out + kQueryRows * wide(HS);
    sum = highest + kQueryRows;
    factor = sum + kQueryRows;
  }
};

static int64_t forward_floats(int64_t HS) { return rows_floats<Singles>(HS) + kQueryRows * (kStride + wide(HS) + 3); }

// Lanes from n on become `other`.
static inline Floats first_lanes(Floats x, int n, float other) {
  for (int i = n; i < kLanes; ++i) x[i] = other;
  return x;
}

// Scores of one row become the words of 2^(scale s - highest), 0 from `valid` up to `width`; returns their sum.
// `highest` is raised where a score is above it.
template <typename Op>
static float soften(float* scores, int64_t valid, int64_t width, float scale, float& highest) {
  const int64_t whole = valid / kLanes * kLanes;
  const int rest = int(valid - whole);
  Floats top = broadcast(-kInfinity);
  for (int64_t j = 0; j < whole; j += kLanes) top = max(load(scores + j), top);
  if (rest) top = max(first_lanes(load(scores + whole), rest, -kInfinity), top);
  const float scaled = scale * largest(top);
  const float raised = scaled > highest ? scaled : highest;
  const Floats factor = broadcast(scale), shift = broadcast(-raised);
  Floats total = {};
  int64_t j = 0;
  for (; j < whole; j += kLanes) {
    const Floats p = exp2(multiply_add(load(scores + j), factor, shift));
    store_words<Op>(scores + j / Op::kNumbers, p);
    total += p;
  }
  if (rest) {
    const Floats s = first_lanes(load(scores + j), rest, -kInfinity);
    const Floats p = exp2(multiply_add(s, factor, shift));
    store_words<Op>(scores + j / Op::kNumbers, p);
    total += p;
    j += kLanes;
  }
  for (; j < width; j += kLanes) store_words<Op>(scores + j / Op::kNumbers, Floats{});
  highest = raised;
  return sum(total);
}

// The softmax of a block of scores, and what is there of the results multiplied by what the new maxima take away.
template <typename Op>
static void soften_block(const AttentionTiles& tiles, const ForwardScratch& scratch, float scale) {
  float totals[kQueryRows];
  for (int64_t i = 0; i < tiles.rows; ++i) {
    const int64_t width = tiles.visible_to_tile(i / kRows * kRows);
    scratch.factor[i] = scratch.highest[i];
    totals[i] =
        width > 0 ? soften<Op>(scratch.scores + i * kStride, tiles.visible(i), width, scale, scratch.highest[i]) : 0.0f;
  }
  for (int64_t i = 0; i < tiles.rows; i += kLanes) {
    const Floats factor = exp2(load(scratch.factor + i) - load(scratch.highest + i));
    store(scratch.factor + i, factor);
    store(scratch.sum + i, multiply_add(load(scratch.sum + i), factor, load(totals + i)));
  }
  if (tiles.key == 0) return;
  const int64_t stride = wide(tiles.HS);
  for (int64_t i = 0; i < tiles.rows; ++i) {
    if (scratch.factor[i] == 1.0f) continue;
    float* out = scratch.out + i * stride;
    for (int64_t c = 0; c < tiles.HS; c += kLanes) store(out + c, load(out + c) * broadcast(scratch.factor[i]));
  }
}

template <typename Op, typename Number>
static void forward_block(const AttentionProblem& problem, const AttentionBlock& block, const ForwardScratch& scratch) {
  const AttentionPair& pair = problem.pairs[block.pair];
  const int64_t HS = problem.HS, group = problem.group;
  const int64_t first = block.block * kQueryRows, rows = smaller(kQueryRows, pair.length * group - first);
  pack_as_rows<Op>(scratch.q, rows_of<Number>(problem.q, problem, pair, group), first, rows);
  for (int64_t i = 0; i < kQueryRows; ++i) scratch.highest[i] = -kInfinity, scratch.sum[i] = 0;
  const int64_t keys = problem.causal ? (first + rows - 1) / group + 1 : pair.length;
  for (int64_t key = 0; key < keys; key += kKeys) {
    const AttentionTiles tiles = {HS, group, problem.causal, first, rows, key, smaller(kKeys, keys - key), key};
    tiles.multiply<Op>(scratch.scores, scratch.q, pair.packed);
    soften_block<Op>(tiles, scratch, problem.scale * kLog2E);
    tiles.accumulate<Op>(scratch.out, scratch.scores, pair.packed + columns_floats<Op>(pair.length, HS), pair.length,
                         key > 0);
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

extern const AttentionForwardKernels attention_forward_kernels = {packed_floats, forward_floats, pack, forward};

}  // namespace vlm2vec::VLM2VEC_ISA
