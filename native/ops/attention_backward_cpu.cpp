// Blocks of query rows outside, blocks of keys inside; dk and dv of all keys of a part are accumulated in scratch.
#include <omp.h>

#include "ops/attention_parts.h"

namespace vlm2vec::VLM2VEC_ISA {

struct BackwardScratch {
  float *k_columns, *v_columns, *k_depth;  // packed for the part
  float *dk, *dv;                          // (keys + kRows, wide(HS))
  float *q_rows, *dout_rows;               // packed for the block of query rows
  float *q_depth, *dout_depth;
  float *p, *ds;   // (kQueryRows, kStride) scores and dout·v, then the words of p and ds by columns: word (i, j)
                   // holds rows i * kNumbers .. of key j
  float* ds_rows;  // (kQueryRows, kStride) the words of ds by rows; ds itself where a word is one number
  float *dq, *delta, *lse;  // (kQueryRows, wide(HS)), (kQueryRows)
  int64_t floats;

  BackwardScratch(float* scratch, int64_t keys, int64_t HS) {
    float* next = scratch;
    const auto take = [&next](int64_t count) {
      float* taken = next;
      next += padded(count);
      return taken;
    };
    k_columns = take(columns_floats<Singles>(keys, HS)), v_columns = take(columns_floats<Singles>(keys, HS));
    k_depth = take(depth_floats<Singles>(keys, HS));
    dk = take((keys + kRows) * wide(HS)), dv = take((keys + kRows) * wide(HS));
    q_rows = take(rows_floats<Singles>(HS)), dout_rows = take(rows_floats<Singles>(HS));
    q_depth = take(kQueryRows * wide(HS)), dout_depth = take(kQueryRows * wide(HS));
    p = take(kQueryRows * kStride), ds = take(kQueryRows * kStride), ds_rows = take(kQueryRows * kStride);
    dq = take(kQueryRows * wide(HS)), delta = take(kQueryRows), lse = take(kQueryRows);
    floats = next - scratch;
  }
};

static int64_t backward_floats(int64_t keys, int64_t HS) {
  float* const nowhere = nullptr;
  return BackwardScratch(nowhere, keys, HS).floats;
}

// p = 2^(scale s - lse), ds = p (dout·v - delta) of kLanes keys; 0 from lane n on.
struct Weights {
  Floats p, ds;
  static Weights of(const BackwardScratch& scratch, int64_t i, int64_t j, int n, float scale) {
    Weights w = {Floats{}, Floats{}};
    if (n <= 0) return w;
    const Floats s = load(scratch.p + i * kStride + j), dp = load(scratch.ds + i * kStride + j);
    w.p = exp2(multiply_add(s, broadcast(scale), broadcast(-scratch.lse[i])));
    w.ds = w.p * (dp - broadcast(scratch.delta[i]));
    for (int lane = n; lane < kLanes; ++lane) w.p[lane] = w.ds[lane] = 0;
    return w;
  }
};

// The words of p and ds from the scores. Two rows of one word take the place of the two rows of scores.
template <typename Op>
static void differentiate(const AttentionTiles& tiles, const BackwardScratch& scratch, float scale) {
  const int64_t width = round_up(tiles.keys, kLanes);
  for (int64_t i = tiles.first_row(0); i < tiles.rows; i += Op::kNumbers) {
    const int64_t valid = tiles.visible(i), next = i + 1 < tiles.rows ? tiles.visible(i + 1) : 0;
    float *p = scratch.p + i / Op::kNumbers * kStride, *ds = scratch.ds + i / Op::kNumbers * kStride;
    float p_words[kStride], ds_words[kStride];
    for (int64_t j = 0; j < width; j += kLanes) {
      const Weights w = Weights::of(scratch, i, j, lanes(valid - j), scale);
      if constexpr (Op::kNumbers == 1) {
        store(p + j, w.p);
        store(ds + j, w.ds);
      } else {
        const Weights v = Weights::of(scratch, i + 1, j, lanes(next - j), scale);
        store_words<Op>(scratch.ds_rows + i * kStride + j / 2, w.ds);
        store_words<Op>(scratch.ds_rows + (i + 1) * kStride + j / 2, v.ds);
        store(p_words + j, pair(w.p, v.p));
        store(ds_words + j, pair(w.ds, v.ds));
      }
    }
    if constexpr (Op::kNumbers == 2) {
      std::memcpy(p, p_words, size_t(width) * sizeof(float));
      std::memcpy(ds, ds_words, size_t(width) * sizeof(float));
    }
    // keys beyond the last of a tile of rows
    for (int64_t j = width; j < round_up(tiles.keys, kRows); ++j) p[j] = ds[j] = 0;
  }
}

template <typename Op>
static void backward_tiles(const AttentionTiles& tiles, const BackwardScratch& scratch, const AttentionPart& part,
                           float scale) {
  const int64_t stride = wide(tiles.HS), rows = words<Op>(tiles.rows);
  tiles.multiply<Op>(scratch.p, scratch.q_rows, scratch.k_columns);
  tiles.multiply<Op>(scratch.ds, scratch.dout_rows, scratch.v_columns);
  differentiate<Op>(tiles, scratch, scale);
  for (int64_t c = 0; c < tiles.HS; c += kColumns)
    for (int64_t j = 0; j < tiles.keys; j += kRows) {
      const int64_t i = tiles.first_row(j) / Op::kNumbers;
      if (i >= rows) break;
      const int64_t to = (tiles.place + j) * stride + c, from = i * kStride + j, channels = c * rows + i * kColumns;
      multiply_panel<1, kStride, Op>(scratch.dv + to, stride, scratch.p + from, scratch.dout_depth + channels, rows - i,
                                     true, tiles.HS - c);
      multiply_panel<1, kStride, Op>(scratch.dk + to, stride, scratch.ds + from, scratch.q_depth + channels, rows - i,
                                     true, tiles.HS - c);
    }
  tiles.accumulate<Op>(scratch.dq, Op::kNumbers == 1 ? scratch.ds : scratch.ds_rows, scratch.k_depth, part.keys,
                       tiles.place > 0 || part.key > 0);
}

template <typename Op, typename Number>
static void load_query_block(const AttentionProblem& problem, const AttentionPair& pair, const BackwardScratch& scratch,
                             int64_t first, int64_t rows) {
  const auto q = rows_of<Number>(problem.q, problem, pair, problem.group),
             dout = rows_of<Number>(problem.dout, problem, pair, problem.group);
  load_row_sums<Number>(problem, pair, first, rows, scratch.delta, scratch.lse);
  pack_as_rows<Op>(scratch.q_rows, q, first, rows);
  pack_as_rows<Op>(scratch.dout_rows, dout, first, rows);
  pack_as_depth<Op>(scratch.q_depth, q, first, rows);
  pack_as_depth<Op>(scratch.dout_depth, dout, first, rows);
}

template <typename Op, typename Number>
static void backward_part(const AttentionProblem& problem, const AttentionPart& part, float* memory) {
  const AttentionPair& pair = problem.pairs[part.pair];
  const int64_t HS = problem.HS, length = pair.length, group = problem.group, stride = wide(HS);
  const BackwardScratch scratch(memory, part.keys, HS);
  auto k = rows_of<Number>(problem.k, problem, pair, 1), v = rows_of<Number>(problem.v, problem, pair, 1);
  k.first = k(part.key), v.first = v(part.key);
  pack_as_columns<Op>(scratch.k_columns, k, part.keys);
  pack_as_columns<Op>(scratch.v_columns, v, part.keys);
  pack_as_depth<Op>(scratch.k_depth, k, 0, part.keys);
  std::memset(scratch.dk, 0, size_t((part.keys + kRows) * stride) * sizeof(float));
  std::memset(scratch.dv, 0, size_t((part.keys + kRows) * stride) * sizeof(float));
  const auto dq = output_rows<Number>(problem.dq, problem, pair, group);
  for (int64_t first = first_row_of(problem, part, kQueryRows); first < length * group; first += kQueryRows) {
    const int64_t rows = smaller(kQueryRows, length * group - first);
    load_query_block<Op, Number>(problem, pair, scratch, first, rows);
    // the first keys of a causal part are not seen by all rows of its first blocks
    if (part.key > 0) std::memset(scratch.dq, 0, size_t(kQueryRows * stride) * sizeof(float));
    const int64_t end = part.key + part.keys;
    const int64_t seen = problem.causal ? smaller(end, (first + rows - 1) / group + 1) : end;
    for (int64_t key = part.key; key < seen; key += kKeys)
      backward_tiles<Op>({HS, group, problem.causal, first, rows, key, smaller(kKeys, seen - key), key - part.key},
                         scratch, part, problem.scale * kLog2E);
    if (part.dq)
      scatter(HeadRows<float>{part.dq, HS, HS, 1}, first, rows, scratch.dq, stride, 1);
    else
      scatter(dq, first, rows, scratch.dq, stride, problem.scale);
  }
  scatter(output_rows<Number>(problem.dk, problem, pair, 1), part.key, part.keys, scratch.dk, stride, problem.scale);
  scatter(output_rows<Number>(problem.dv, problem, pair, 1), part.key, part.keys, scratch.dv, stride, 1);
}

template <typename Op, typename Number>
static void backward_as(const AttentionProblem& problem) {
  const int64_t floats = backward_floats(longest_part(problem), problem.HS);
  backward_parts<Number>(problem, kQueryRows, [&](const AttentionPart& part) {
    backward_part<Op, Number>(problem, part, problem.scratch + omp_get_thread_num() * floats);
  });
}

static void backward(const AttentionProblem& problem) {
  problem.type == DType::BF16 ? backward_as<Halved, bf16>(problem) : backward_as<Singles, float>(problem);
}

extern const AttentionBackwardKernels attention_backward_kernels = {backward_floats, backward};

}  // namespace vlm2vec::VLM2VEC_ISA
