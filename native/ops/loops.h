// Loops that CPU kernels share. How work is divided among threads never shows in the result.
#pragma once
#include "core/parallel.h"
#include "ops/vector_math.h"

namespace vlm2vec::VLM2VEC_ISA {

// Numbers that a thread should at least be given: below that, waking it costs more than it saves.
constexpr int64_t kGrain = 16384;

static inline int64_t row_grain(int64_t columns) { return columns > 0 && columns < kGrain ? kGrain / columns : 1; }

// f(i, n) for vectors of n consecutive numbers that begin at i.
template <typename F>
static inline void each_vector(int threads, int64_t size, const F& f) {
  constexpr int64_t kChunk = 1024;
  parallel_blocks(threads, (size + kChunk - 1) / kChunk, kGrain / kChunk, [&](int64_t begin, int64_t end) {
    const int64_t stop = end * kChunk < size ? end * kChunk : size;
    for (int64_t i = begin * kChunk; i < stop; i += kLanes) f(i, lanes(stop - i));
  });
}

// to[s][column] += sum over rows of terms[s], where f(row, column, n, terms) gives the terms of n columns. Each column
// is summed in order of the rows: in f32 over kBlock rows, in f64 over blocks.
template <int kSums, typename F>
static inline void add_column_sums(float* const (&to)[kSums], int threads, int64_t rows, int64_t columns, const F& f) {
  constexpr int64_t kBlock = 16, kVectors = 4, kTile = kVectors * kLanes;
  const int64_t grain = rows * kTile < kGrain ? kGrain / (rows * kTile + 1) + 1 : 1;
  parallel_blocks(threads, (columns + kTile - 1) / kTile, grain, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin * kTile; c < end * kTile && c < columns; c += kTile) {
      double total[kSums][kTile] = {};
      for (int64_t first = 0; first < rows; first += kBlock) {
        Floats partial[kSums][kVectors] = {};
        for (int64_t r = first; r < first + kBlock && r < rows; ++r)
          for (int v = 0; v < kVectors && c + v * kLanes < columns; ++v) {
            Floats terms[kSums];
            f(r, c + v * kLanes, lanes(columns - c - v * kLanes), terms);
            for (int s = 0; s < kSums; ++s) partial[s][v] += terms[s];
          }
        for (int s = 0; s < kSums; ++s)
          for (int64_t i = 0; i < kTile; ++i) total[s][i] += double(partial[s][i / kLanes][i % kLanes]);
      }
      for (int s = 0; s < kSums; ++s)
        for (int64_t i = 0; i < kTile && c + i < columns; ++i) to[s][c + i] += float(total[s][i]);
    }
  });
}

}  // namespace vlm2vec::VLM2VEC_ISA
