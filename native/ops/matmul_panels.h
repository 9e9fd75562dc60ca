// Panels of a product's right factor, from whatever the weight is stored as. For use in `*_cpu.cpp` only.
#pragma once
#include "ops/matmul_kernels.h"
#include "ops/transpose.h"
#include "ops/unpack.h"

namespace vlm2vec::VLM2VEC_ISA {

template <typename Number>
VLM2VEC_INLINE void widen(float* to, const Number* from, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) store(to + i, load(from + i, lanes(count - i)), lanes(count - i));
}

// to[0, count) = numbers of one row of the weight, from `column` on.
VLM2VEC_INLINE void read_run(float* to, const RightFactor& w, int64_t row, int64_t column, int64_t count) {
  const int64_t first = row * w.k + column;
  switch (w.kind) {
    case RightFactor::Kind::Packed: return;
    case RightFactor::Kind::Plain:
      if (w.type == DType::BF16) return widen(to, static_cast<const bf16*>(w.data) + first, count);
      return widen(to, static_cast<const float*>(w.data) + first, count);
    case RightFactor::Kind::Int8:
      return read_int8(to, static_cast<const int8_t*>(w.data) + first, w.scales[row], count);
    case RightFactor::Kind::Nf4: return read_nf4(to, static_cast<const uint8_t*>(w.data), w.scales, first, count);
  }
}

// Lines [k, k + depth) of a panel of kColumns columns, f32: where they lie, or made in `to` (depth, kColumns). Columns
// beyond the last are zero.
static inline const float* panel_block(const RightFactor& w, int64_t panel, int64_t k, int64_t depth, float* to) {
  constexpr int64_t kRun = 64;
  const int64_t first = panel * kColumns, width = smaller(kColumns, w.columns() - first);
  if (w.kind == RightFactor::Kind::Packed) return static_cast<const float*>(w.data) + first * w.depth() + k * kColumns;
  if (!w.transposed) {
    for (int64_t i = 0; i < depth; ++i) {
      read_run(to + i * kColumns, w, k + i, first, width);
      for (int64_t j = width; j < kColumns; ++j) to[i * kColumns + j] = 0;
    }
    return to;
  }
  if (w.kind == RightFactor::Kind::Plain) {
    const int64_t at = first * w.k + k;
    if (w.type == DType::BF16)
      pack_transposed<kColumns>(to, static_cast<const bf16*>(w.data) + at, w.k, width, depth);
    else
      pack_transposed<kColumns>(to, static_cast<const float*>(w.data) + at, w.k, width, depth);
    return to;
  }
  float runs[kColumns][kRun];
  for (int64_t j = width; j < kColumns; ++j)
    for (int64_t i = 0; i < kRun; ++i) runs[j][i] = 0;
  for (int64_t i = 0; i < depth; i += kRun) {
    const int64_t count = smaller(kRun, depth - i);
    for (int64_t j = 0; j < width; ++j) read_run(runs[j], w, first + j, k + i, count);
    write_transposed<kColumns>(to + i * kColumns, count,
                               [&](int64_t j, int64_t at, int n) { return load(&runs[j][at], n); });
  }
  return to;
}

// Rows [0, rows) of x, each `depth` long, as a tile of the left factor: to[k * kRows + i]. Rows up to kRows are zero.
template <typename Number>
static inline void pack_rows(float* to, const Number* x, int64_t rows, int64_t depth) {
  static_assert(kRows <= kLanes, "a line of a tile is one vector");
  for (int64_t k = 0; k < depth; k += kLanes) {
    const int n = lanes(depth - k);
    Floats lines[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) lines[i] = i < rows ? load(x + i * depth + k, n) : Floats{};
    transpose(lines);
    const int whole = k + n < depth ? n : n - 1;  // a whole vector reaches into the next line, which is written next
    for (int j = 0; j < whole; ++j) store(to + (k + j) * kRows, lines[j], kLanes);
    if (whole < n) store(to + (k + whole) * kRows, lines[whole], kRows);
  }
}

}  // namespace vlm2vec::VLM2VEC_ISA
