// CPU kernels for tiles of dot products between rows of two matrices, for the contrastive loss and the search. A
// product has the same bits in every tile, and among candidates.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

constexpr int64_t kScoreTile = 1440;  // rows of scores do not alias in L1

// Rows or columns with those that fill up the register tiles of every instruction set.
constexpr int64_t padded(int64_t count) { return (count + 95) / 96 * 96; }
static_assert(padded(kScoreTile) == kScoreTile, "register tiles do not divide tiles of scores");

struct ScoreTile {
  const float *queries, *targets;      // (rows, D), (columns, D): where the tile begins
  int64_t rows, columns, D;            // rows, columns <= kScoreTile
  float* scores;                       // (padded(rows), kScoreTile)
  float *query_rows, *target_columns;  // packed: (padded(rows), D), (padded(columns), D)
  DType type;                          // BF16: rounded to it where the machine has bf16 products
  int threads;
};

struct ScoreKernels {
  void (*pack_queries)(const ScoreTile& tile);
  void (*pack_targets)(const ScoreTile& tile);
  void (*multiply)(const ScoreTile& tile);
  // scores[n] = query · targets[candidates[n]], on the calling thread
  int64_t (*candidate_floats)(int64_t D);
  void (*multiply_candidates)(float* scores, const float* query, const float* targets, int64_t D,
                              const int32_t* candidates, int64_t count, float* scratch);
};

VLM2VEC_DECLARE_KERNELS(ScoreKernels, score_kernels)

}  // namespace vlm2vec
