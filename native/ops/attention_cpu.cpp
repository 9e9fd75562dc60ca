#include <omp.h>

#include "core/parallel.h"
#include "ops/attention_kernels.h"
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

// Keys at a time: scores of a tile of rows stay in L1. A multiple of every kRows and kColumns.
constexpr int64_t kKeys = 192;
constexpr int64_t kQueryRows = kAttentionQueryRows;
static_assert(kKeys % kRows == 0 && kKeys % kColumns == 0 && kQueryRows % kRows == 0, "tiles do not divide blocks");

static const float kInfinity = __builtin_inff();

// Sizes are kept multiples of 16 floats, so that every buffer is aligned.
static int64_t padded(int64_t floats) { return round_up(floats, 16); }
static int64_t wide(int64_t HS) { return round_up(HS, kColumns); }

// ---------------------------------------------------------------------------------------------------------------------
// Rows in and out

// Row r of a pair is token r / group, head r % group. to (rows, HS) f32.
template <typename Number>
static void gather(float* to, const AttentionRows& from, const AttentionProblem& problem, const AttentionPair& pair,
                   int64_t first, int64_t rows) {
  const int64_t HS = problem.HS, group = problem.group;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t token = (first + i) / group, head = pair.head * group + (first + i) % group;
    const Number* row = static_cast<const Number*>(from.data) + (pair.start + token) * from.stride + head * HS;
    for (int64_t c = 0; c < HS; ++c) to[i * HS + c] = to_float(row[c]);
  }
}

// to = factor * from, from (rows, stride) f32.
template <typename Number>
static void scatter(const AttentionRows& to, const float* from, int64_t from_stride, float factor,
                    const AttentionProblem& problem, const AttentionPair& pair, int64_t first, int64_t rows,
                    int64_t group) {
  const int64_t HS = problem.HS;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t token = (first + i) / group, head = pair.head * group + (first + i) % group;
    Number* row = static_cast<Number*>(const_cast<void*>(to.data)) + (pair.start + token) * to.stride + head * HS;
    for (int64_t c = 0; c < HS; ++c) write_number(row + c, factor * from[i * from_stride + c]);
  }
}

template <typename Number>
static const Number* head_of(const AttentionRows& rows, const AttentionProblem& problem, const AttentionPair& pair) {
  return static_cast<const Number*>(rows.data) + pair.start * rows.stride + pair.head * problem.HS;
}

// Keys as columns (panels of kColumns keys, depth HS), for q·k and dout·v.
template <typename Number>
static void pack_keys(float* to, const Number* from, int64_t stride, int64_t length, int64_t HS) {
  for (int64_t j = 0; j < length; j += kColumns)
    pack_transposed<kColumns>(to + j * HS, from + j * stride, stride, smaller(kColumns, length - j), HS);
}

// Keys as rows (panels of kColumns channels, depth length), for p·v and ds·k.
template <typename Number>
static void pack_channels(float* to, const Number* from, int64_t stride, int64_t length, int64_t HS) {
  for (int64_t c = 0; c < HS; c += kColumns)
    pack_columns<kColumns>(to + c * length, from + c, stride, smaller(kColumns, HS - c), length);
}

static int64_t keys_floats(int64_t length, int64_t HS) { return padded(round_up(length, kColumns) * HS); }
static int64_t channels_floats(int64_t length, int64_t HS) { return padded(wide(HS) * length); }

static void pack_rows(float* to, const float* rows, int64_t count, int64_t HS) {
  for (int64_t i = 0; i < count; i += kRows)
    pack_transposed<kRows>(to + i * HS, rows + i * HS, HS, smaller(kRows, count - i), HS);
}

// ---------------------------------------------------------------------------------------------------------------------
// Forward

static int64_t packed_floats(int64_t length, int64_t HS) {
  return keys_floats(length, HS) + channels_floats(length, HS);
}

template <typename Number>
static void pack_typed(const AttentionProblem& problem) {
  parallel_for_dynamic(problem.threads, problem.pair_count, [&](int64_t i) {
    const AttentionPair& pair = problem.pairs[i];
    pack_keys(pair.packed, head_of<Number>(problem.k, problem, pair), problem.k.stride, pair.length, problem.HS);
    pack_channels(pair.packed + keys_floats(pair.length, problem.HS), head_of<Number>(problem.v, problem, pair),
                  problem.v.stride, pair.length, problem.HS);
  });
}

static void pack(const AttentionProblem& problem) {
  if (problem.type == DType::BF16)
    pack_typed<bf16>(problem);
  else
    pack_typed<float>(problem);
}

struct ForwardScratch {
  float *rows, *q, *scores, *out, *highest, *sum;
  ForwardScratch(float* scratch, int64_t HS) {
    rows = scratch;
    q = rows + padded(kQueryRows * HS);
    scores = q + padded(kQueryRows * HS);
    out = scores + kRows * kKeys;
    highest = out + kQueryRows * wide(HS);
    sum = highest + kQueryRows;
  }
};

static int64_t forward_floats(int64_t HS) {
  return 2 * padded(kQueryRows * HS) + padded(kRows * kKeys) + kQueryRows * wide(HS) + 2 * kQueryRows;
}

// Scores of one row become e^(scale s - highest); returns their sum. Beyond `valid` they become 0, up to `width`.
// `highest` is raised, and `factor` is what earlier sums are to be multiplied by.
static float soften(float* scores, int64_t valid, int64_t width, float scale, float& highest, float& factor) {
  for (int64_t j = valid; j < width; ++j) scores[j] = -kInfinity;
  Floats top = broadcast(-kInfinity);
  for (int64_t j = 0; j < width; j += kLanes) top = max(load(scores + j), top);
  const float scaled = scale * largest(top);
  const float raised = scaled > highest ? scaled : highest;
  Floats total = {};
  for (int64_t j = 0; j < width; j += kLanes) {
    const Floats p = exp(multiply_add(load(scores + j), broadcast(scale), broadcast(-raised)));
    store(scores + j, p);
    total += p;
  }
  factor = raised == highest ? 1.0f : exp(broadcast(highest - raised))[0];
  highest = raised;
  return sum(total);
}

// One block of keys for one tile of query rows: scores, softmax, and out += p·v.
static void attend(const AttentionProblem& problem, const AttentionPair& pair, const ForwardScratch& scratch,
                   int64_t first_row, int64_t tile, int64_t rows, int64_t key) {
  const int64_t HS = problem.HS, group = problem.group, length = pair.length, row = tile * kRows;
  const int64_t last_token = (first_row + smaller(row + kRows, rows) - 1) / group;
  const int64_t keys = smaller(kKeys, (problem.causal ? last_token + 1 : length) - key);
  if (keys <= 0) return;
  const int64_t width = round_up(keys, kColumns);
  multiply_packed(scratch.scores, kKeys, scratch.q + row * HS, 1, pair.packed + key * HS, width / kColumns, HS, false);
  float* out = scratch.out + row * wide(HS);
  for (int64_t i = 0; i < kRows; ++i) {
    float* scores = scratch.scores + i * kKeys;
    const int64_t token = (first_row + row + i) / group;
    const int64_t valid = problem.causal ? smaller(keys, larger(0, token + 1 - key)) : keys;
    float factor;
    const float total = soften(scores, valid, width, problem.scale, scratch.highest[row + i], factor);
    scratch.sum[row + i] = scratch.sum[row + i] * factor + total;
    if (factor == 1.0f) continue;
    for (int64_t c = 0; c < wide(HS); c += kLanes)
      store(out + i * wide(HS) + c, load(out + i * wide(HS) + c) * broadcast(factor));
  }
  const float* values = pair.packed + keys_floats(length, HS);
  for (int64_t c = 0; c < wide(HS); c += kColumns)
    multiply_tile<kKeys, 1>(out + c, wide(HS), scratch.scores, values + c * length + key * kColumns, keys, true);
}

template <typename Number>
static void forward_block(const AttentionProblem& problem, const AttentionBlock& block, const ForwardScratch& scratch) {
  const AttentionPair& pair = problem.pairs[block.pair];
  const int64_t HS = problem.HS, group = problem.group;
  const int64_t first = block.block * kQueryRows, rows = smaller(kQueryRows, pair.length * group - first);
  gather<Number>(scratch.rows, problem.q, problem, pair, first, rows);
  pack_rows(scratch.q, scratch.rows, rows, HS);
  for (int64_t i = 0; i < kQueryRows * wide(HS); ++i) scratch.out[i] = 0;
  for (int64_t i = 0; i < kQueryRows; ++i) scratch.highest[i] = -kInfinity, scratch.sum[i] = 0;
  const int64_t tiles = round_up(rows, kRows) / kRows;
  const int64_t keys = problem.causal ? (first + rows - 1) / group + 1 : pair.length;
  for (int64_t key = 0; key < keys; key += kKeys)
    for (int64_t tile = 0; tile < tiles; ++tile) attend(problem, pair, scratch, first, tile, rows, key);
  for (int64_t i = 0; i < rows; ++i) {
    float* out = scratch.out + i * wide(HS);
    for (int64_t c = 0; c < HS; ++c) out[c] /= scratch.sum[i];
    const int64_t token = (first + i) / group, head = pair.head * group + (first + i) % group;
    problem.lse[head * problem.T + pair.start + token] =
        float(double(scratch.highest[i]) + __builtin_log(double(scratch.sum[i])));
  }
  scatter<Number>(problem.out, scratch.out, wide(HS), 1, problem, pair, first, rows, group);
}

static void forward(const AttentionProblem& problem) {
  parallel_for_dynamic(problem.threads, problem.block_count, [&](int64_t i) {
    const ForwardScratch scratch(problem.scratch + omp_get_thread_num() * forward_floats(problem.HS), problem.HS);
    if (problem.type == DType::BF16)
      forward_block<bf16>(problem, problem.blocks[i], scratch);
    else
      forward_block<float>(problem, problem.blocks[i], scratch);
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// Backward: blocks of query rows outside, blocks of keys inside; dk and dv of the whole pair are accumulated in scratch

struct BackwardScratch {
  float *k_keys, *v_keys, *k_channels;  // packed for the pair
  float *dk, *dv;                       // (length + kRows, wide(HS))
  float *q, *dout;                      // (kQueryRows, HS) gathered
  float *q_rows, *dout_rows;            // the same, packed as rows
  float *q_channels, *dout_channels;    // the same, packed as depth
  float *p, *ds;                        // (kQueryRows, kKeys)
  float *dq, *delta, *lse;              // (kQueryRows, wide(HS)), (kQueryRows)
  int64_t floats;

  BackwardScratch(float* scratch, int64_t length, int64_t HS) {
    float* next = scratch;
    const auto take = [&next](int64_t count) {
      float* taken = next;
      next += padded(count);
      return taken;
    };
    k_keys = take(keys_floats(length, HS)), v_keys = take(keys_floats(length, HS));
    k_channels = take(channels_floats(length, HS));
    dk = take((length + kRows) * wide(HS)), dv = take((length + kRows) * wide(HS));
    q = take(kQueryRows * HS), dout = take(kQueryRows * HS);
    q_rows = take(kQueryRows * HS), dout_rows = take(kQueryRows * HS);
    q_channels = take(kQueryRows * wide(HS)), dout_channels = take(kQueryRows * wide(HS));
    p = take(kQueryRows * kKeys), ds = take(kQueryRows * kKeys);
    dq = take(kQueryRows * wide(HS)), delta = take(kQueryRows), lse = take(kQueryRows);
    floats = next - scratch;
  }
};

static int64_t backward_floats(int64_t longest, int64_t HS) {
  float* const nowhere = nullptr;
  return BackwardScratch(nowhere, longest, HS).floats;
}

// A block of query rows, and what of it a block of keys can see.
struct BackwardBlock {
  int64_t first, rows;  // of the pair
  int64_t begin;        // rows before it see none of the keys
  int64_t key, keys;    // keys <= kKeys
};

// p = e^(scale s - lse) and ds = p (dp - delta) for one row; 0 beyond `valid`. s and dp are overwritten.
static void differentiate(float* p, float* ds, int64_t valid, float scale, float lse, float delta) {
  const int64_t width = round_up(valid, kLanes);
  for (int64_t j = 0; j < width; j += kLanes) {
    const Floats p_j = exp(multiply_add(load(p + j), broadcast(scale), broadcast(-lse)));
    store(p + j, p_j);
    store(ds + j, p_j * (load(ds + j) - broadcast(delta)));
  }
  for (int64_t j = valid; j < kKeys; ++j) p[j] = ds[j] = 0;
}

static void backward_tiles(const AttentionProblem& problem, const BackwardScratch& scratch, int64_t length,
                           const BackwardBlock& b) {
  const int64_t HS = problem.HS, stride = wide(HS);
  const int64_t first_tile = b.begin / kRows, tiles = round_up(b.rows, kRows) / kRows - first_tile;
  const int64_t panels = round_up(b.keys, kColumns) / kColumns, begin = first_tile * kRows;
  float *p = scratch.p + begin * kKeys, *ds = scratch.ds + begin * kKeys;
  multiply_packed(p, kKeys, scratch.q_rows + begin * HS, tiles, scratch.k_keys + b.key * HS, panels, HS, false);
  multiply_packed(ds, kKeys, scratch.dout_rows + begin * HS, tiles, scratch.v_keys + b.key * HS, panels, HS, false);
  for (int64_t i = begin; i < b.rows; ++i) {
    const int64_t token = (b.first + i) / problem.group;
    const int64_t valid = problem.causal ? smaller(b.keys, larger(0, token + 1 - b.key)) : b.keys;
    differentiate(scratch.p + i * kKeys, scratch.ds + i * kKeys, valid, problem.scale, scratch.lse[i],
                  scratch.delta[i]);
  }
  for (int64_t c = 0; c < stride; c += kColumns) {
    const float* dout = scratch.dout_channels + c * b.rows + begin * kColumns;
    const float* q = scratch.q_channels + c * b.rows + begin * kColumns;
    for (int64_t j = 0; j < b.keys; j += kRows) {
      const int64_t to = (b.key + j) * stride + c;
      multiply_tile<1, kKeys>(scratch.dv + to, stride, p + j, dout, b.rows - begin, true);
      multiply_tile<1, kKeys>(scratch.dk + to, stride, ds + j, q, b.rows - begin, true);
    }
    const float* k = scratch.k_channels + c * length + b.key * kColumns;
    for (int64_t i = 0; i < tiles; ++i)
      multiply_tile<kKeys, 1>(scratch.dq + (begin + i * kRows) * stride + c, stride, ds + i * kRows * kKeys, k, b.keys,
                              true);
  }
}

template <typename Number>
static void load_query_block(const AttentionProblem& problem, const AttentionPair& pair, const BackwardScratch& scratch,
                             int64_t first, int64_t rows) {
  const int64_t HS = problem.HS;
  gather<Number>(scratch.q, problem.out, problem, pair, first, rows);  // out, for delta only
  gather<Number>(scratch.dout, problem.dout, problem, pair, first, rows);
  for (int64_t i = 0; i < rows; ++i) {
    double sum = 0;
    for (int64_t c = 0; c < HS; ++c) sum += double(scratch.q[i * HS + c]) * double(scratch.dout[i * HS + c]);
    const int64_t token = (first + i) / problem.group, head = pair.head * problem.group + (first + i) % problem.group;
    scratch.delta[i] = float(sum);
    scratch.lse[i] = problem.lse[head * problem.T + pair.start + token];
  }
  gather<Number>(scratch.q, problem.q, problem, pair, first, rows);
  pack_rows(scratch.q_rows, scratch.q, rows, HS);
  pack_rows(scratch.dout_rows, scratch.dout, rows, HS);
  pack_channels(scratch.q_channels, scratch.q, HS, rows, HS);
  pack_channels(scratch.dout_channels, scratch.dout, HS, rows, HS);
}

template <typename Number>
static void backward_pair(const AttentionProblem& problem, const AttentionPair& pair, float* memory) {
  const int64_t HS = problem.HS, length = pair.length, group = problem.group, stride = wide(HS);
  const BackwardScratch scratch(memory, length, HS);
  pack_keys(scratch.k_keys, head_of<Number>(problem.k, problem, pair), problem.k.stride, length, HS);
  pack_keys(scratch.v_keys, head_of<Number>(problem.v, problem, pair), problem.v.stride, length, HS);
  pack_channels(scratch.k_channels, head_of<Number>(problem.k, problem, pair), problem.k.stride, length, HS);
  for (int64_t i = 0; i < (length + kRows) * stride; ++i) scratch.dk[i] = scratch.dv[i] = 0;
  for (int64_t first = 0; first < length * group; first += kQueryRows) {
    const int64_t rows = smaller(kQueryRows, length * group - first);
    load_query_block<Number>(problem, pair, scratch, first, rows);
    for (int64_t i = 0; i < kQueryRows * stride; ++i) scratch.dq[i] = 0;
    const int64_t visible = problem.causal ? (first + rows - 1) / group + 1 : length;
    for (int64_t key = 0; key < visible; key += kKeys) {
      const int64_t begin = problem.causal ? larger(0, key * group - first) : 0;
      backward_tiles(problem, scratch, length, {first, rows, begin, key, smaller(kKeys, visible - key)});
    }
    scatter<Number>(problem.dq, scratch.dq, stride, problem.scale, problem, pair, first, rows, group);
  }
  scatter<Number>(problem.dk, scratch.dk, stride, problem.scale, problem, pair, 0, length, 1);
  scatter<Number>(problem.dv, scratch.dv, stride, 1, problem, pair, 0, length, 1);
}

static void backward(const AttentionProblem& problem) {
  int64_t longest = 0;
  for (int64_t i = 0; i < problem.pair_count; ++i) longest = larger(longest, problem.pairs[i].length);
  const int64_t floats = backward_floats(longest, problem.HS);
  parallel_for_dynamic(problem.threads, problem.pair_count, [&](int64_t i) {
    float* memory = problem.scratch + omp_get_thread_num() * floats;
    if (problem.type == DType::BF16)
      backward_pair<bf16>(problem, problem.pairs[i], memory);
    else
      backward_pair<float>(problem, problem.pairs[i], memory);
  });
}

extern const AttentionKernels attention_kernels = {packed_floats, forward_floats, backward_floats,
                                                   pack,          forward,        backward};

}  // namespace vlm2vec::VLM2VEC_ISA
