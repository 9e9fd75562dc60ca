// What the forward and backward CPU kernels of attention share: the rows of a pair, and how they are packed. For use in
// attention_*_cpu.cpp only. Op: Singles or Pairs of ops/microkernel.h.
#pragma once
#include "core/parallel.h"
#include "ops/attention_kernels.h"
#include "ops/microkernel.h"

namespace vlm2vec::VLM2VEC_ISA {

// Keys at a time. A multiple of every kRows and kColumns.
constexpr int64_t kKeys = 192;
constexpr int64_t kQueryRows = kAttentionQueryRows;
// Words from one row of scores to the next: not a power of two, so that a column of them lies in all sets of the cache.
constexpr int64_t kStride = kKeys + 16;
static_assert(kKeys % kRows == 0 && kKeys % kColumns == 0 && kQueryRows % kRows == 0, "tiles do not divide blocks");
static_assert(kRows % 2 == 0 && kKeys % (2 * kLanes) == 0, "pairs do not divide tiles");

constexpr float kLog2E = 1.44269504f;
static const float kInfinity = __builtin_inff();

// Sizes are kept multiples of 16 floats, so that every buffer is aligned.
static inline int64_t padded(int64_t floats) { return round_up(floats, 16); }
static inline int64_t wide(int64_t HS) { return round_up(HS, kColumns); }

// ---------------------------------------------------------------------------------------------------------------------
// Rows. Row r of a pair is token r / group, head r % group.

template <typename Number>
struct HeadRows {
  Number* first;  // token 0, head 0 of the pair
  int64_t stride, HS;
  uint32_t group;
  Number* operator()(int64_t r) const {
    if (group == 1) return first + r * stride;
    const uint32_t row = uint32_t(r);
    return first + int64_t(row / group) * stride + int64_t(row % group) * HS;
  }
};

// The `heads` heads of a pair in `rows`: the group's of queries and results, one of keys and values.
template <typename Number>
static inline HeadRows<const Number> rows_of(const AttentionRows& rows, const AttentionProblem& problem,
                                             const AttentionPair& pair, int64_t heads) {
  const int64_t HS = problem.HS;
  return {static_cast<const Number*>(rows.data) + pair.start * rows.stride + pair.head * heads * HS, rows.stride, HS,
          uint32_t(heads)};
}
template <typename Number>
static inline HeadRows<Number> output_rows(const AttentionRows& rows, const AttentionProblem& problem,
                                           const AttentionPair& pair, int64_t heads) {
  const int64_t HS = problem.HS;
  return {static_cast<Number*>(const_cast<void*>(rows.data)) + pair.start * rows.stride + pair.head * heads * HS,
          rows.stride, HS, uint32_t(heads)};
}

// Row first + i = factor * from[i], for i < count. from (count, from_stride).
template <typename Number>
static inline void scatter(const HeadRows<Number>& to, int64_t first, int64_t count, const float* from,
                           int64_t from_stride, float factor) {
  for (int64_t i = 0; i < count; ++i) {
    Number* row = to(first + i);
    for (int64_t c = 0; c < to.HS; c += kLanes)
      store(row + c, broadcast(factor) * load(from + i * from_stride + c), lanes(to.HS - c));
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Packing

template <typename Op>
static inline int64_t columns_floats(int64_t count, int64_t HS) {
  return padded(round_up(count, kColumns) * words<Op>(HS));
}
template <typename Op>
static inline int64_t depth_floats(int64_t count, int64_t HS) {
  return padded(wide(HS) * words<Op>(count));
}
template <typename Op>
static inline int64_t rows_floats(int64_t HS) {
  return padded(kQueryRows * words<Op>(HS));
}

// `count` rows from `first` on as columns: panels of kColumns rows, depth HS; for q·k and dout·v.
template <typename Op, typename Number>
static inline void pack_as_columns(float* to, const HeadRows<const Number>& from, int64_t count) {
  for (int64_t j = 0; j < count; j += kColumns)
    pack_rows<Op, kColumns>(to + j * words<Op>(from.HS), smaller(kColumns, count - j), from.HS,
                            [&](int64_t i) { return from(j + i); });
}

// The same rows as depth: panels of kColumns channels, depth count; for p·v, ds·k, pᵀ·dout and dsᵀ·q.
template <typename Op, typename Number>
static inline void pack_as_depth(float* to, const HeadRows<const Number>& from, int64_t first, int64_t count) {
  for (int64_t c = 0; c < from.HS; c += kColumns)
    pack_depth<Op, kColumns>(to + c * words<Op>(count), smaller(kColumns, from.HS - c), count,
                             [&](int64_t k) { return from(first + k) + c; });
}

// The same rows as rows: tiles of kRows, depth HS.
template <typename Op, typename Number>
static inline void pack_as_rows(float* to, const HeadRows<const Number>& from, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count; i += kRows)
    pack_rows<Op, kRows>(to + i * words<Op>(from.HS), smaller(kRows, count - i), from.HS,
                         [&](int64_t r) { return from(first + i + r); });
}

// ---------------------------------------------------------------------------------------------------------------------
// A block of query rows against a block of keys

struct AttentionTiles {
  int64_t HS, group;
  bool causal;
  int64_t first, rows;  // query rows, of the pair
  int64_t key, keys;    // of the pair
  int64_t place;        // where they begin among those that are packed

  // Keys of the block that a row sees, and the first row (of the block, whole tiles) that sees key j of it.
  int64_t visible(int64_t row) const {
    if (!causal) return keys;
    const int64_t token = group == 1 ? first + row : int64_t(uint32_t(first + row) / uint32_t(group));
    return smaller(keys, larger(0, token + 1 - key));
  }
  int64_t first_row(int64_t j) const { return causal ? larger(0, (key + j) * group - first) / kRows * kRows : 0; }
  // ... that any row of the tile from `row` on sees
  int64_t visible_to_tile(int64_t row) const { return visible(smaller(row + kRows, rows) - 1); }

  // scores (rows, kStride) = rows · columns; tiles that see nothing are left out.
  template <typename Op>
  void multiply(float* scores, const float* packed_rows, const float* packed_columns) const {
    const int64_t depth = words<Op>(HS);
    for (int64_t j = 0; j < keys; j += kColumns)
      for (int64_t i = first_row(j); i < rows; i += kRows)
        multiply_panel<1, kRows, Op>(scores + i * kStride + j, kStride, packed_rows + i * depth,
                                     packed_columns + (place + j) * depth, depth, false, keys - j);
  }

  // to (rows, wide(HS)) = or += weights · channels, over the keys that a tile sees. Row i of weights: the words of its
  // keys from weights + i * kStride on. channels: all `length` packed keys as depth.
  template <typename Op>
  void accumulate(float* to, const float* weights, const float* channels, int64_t length, bool add) const {
    const int64_t stride = wide(HS);
    for (int64_t c = 0; c < HS; c += kColumns)
      for (int64_t i = 0; i < rows; i += kRows)
        if (const int64_t count = visible_to_tile(i); count > 0)
          multiply_panel<kStride, 1, Op>(to + i * stride + c, stride, weights + i * kStride,
                                         channels + c * words<Op>(length) + place / Op::kNumbers * kColumns,
                                         words<Op>(count), add, HS - c);
  }
};

}  // namespace vlm2vec::VLM2VEC_ISA
