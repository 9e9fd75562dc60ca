// CPU kernels of the contrastive loss: what is done with one tile of scores, at most kInfoNceTile queries by as many
// targets. Scores in a tile are plain dot products; -inf marks what takes no part as a negative.
#pragma once
#include <cstdint>

#include "core/isa.h"

namespace vlm2vec {

constexpr int64_t kInfoNceTile = 960;  // whole register tiles of every instruction set; rows do not alias in L1

struct InfoNceTile {
  const float *queries, *targets;  // (rows, D), (columns, D): where the tile begins
  int64_t rows, columns, D;
  float inverse_temperature;
  float* scores;                            // (kInfoNceTile, kInfoNceTile)
  float *query_rows, *target_columns;       // packed for scores
  float *query_channels, *target_channels;  // packed for gradients; null without
  int threads;
};

struct InfoNceKernels {
  int64_t (*packed_floats)(int64_t D);  // of each of the four packed copies
  void (*pack_queries)(const InfoNceTile& tile);
  void (*pack_targets)(const InfoNceTile& tile);
  void (*multiply_scores)(const InfoNceTile& tile);
  // Online sums: highest is the largest score / temperature so far, sums those of e^(score / temperature - highest).
  void (*add_row_sums)(const InfoNceTile& tile, float* highest, double* sums);
  void (*add_column_sums)(const InfoNceTile& tile, float* highest, double* sums);
  // score = row_weight e^(score / temperature - row_shift) + column_weight e^(score / temperature - column_shift);
  // column_shift may be null.
  void (*weigh)(const InfoNceTile& tile, const float* row_shift, float row_weight, const float* column_shift,
                float column_weight);
  void (*add_dqueries)(const InfoNceTile& tile, float* dqueries);  // dqueries += scores · targets
  void (*add_dtargets)(const InfoNceTile& tile, float* dtargets);  // dtargets += scoresᵀ · queries
};

VLM2VEC_DECLARE_KERNELS(InfoNceKernels, info_nce_kernels)

}  // namespace vlm2vec
