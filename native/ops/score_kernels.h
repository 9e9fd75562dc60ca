// CPU kernels for tiles of dot products between rows of two matrices, for the contrastive loss and the search. A
// product has the same bits in every tile, and among candidates.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

constexpr int64_t kScoreTile = 960;  // whole register tiles of every instruction set; rows do not alias in L1

struct ScoreTile {
  const float *queries, *targets;      // (rows, D), (columns, D): where the tile begins
  int64_t rows, columns, D;            // rows, columns <= kScoreTile
  float* scores;                       // (kScoreTile, kScoreTile)
  float *query_rows, *target_columns;  // packed
  DType type;                          // BF16: rounded to it where the machine has bf16 products
  int threads;
};

struct ScoreKernels {
  int64_t (*packed_floats)(int64_t D);  // of query_rows, and of target_columns
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
