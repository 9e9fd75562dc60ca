// CPU kernels of the contrastive loss: what is done with one tile of scores (ops/score_kernels.h). They are plain dot
// products; -inf marks what takes no part as a negative.
#pragma once
#include <cstdint>

#include "ops/score_kernels.h"

namespace vlm2vec {

struct InfoNceTile {
  ScoreTile scores;
  float steepness;                          // log2 e / temperature
  float *query_channels, *target_channels;  // packed for gradients
  float *row_weights, *column_weights;      // (padded(rows), padded(columns)) words each: for dqueries, dtargets
};

struct InfoNceKernels {
  int64_t (*channel_floats)(int64_t rows, int64_t D);  // of query_channels, and of target_channels
  void (*pack_query_channels)(const InfoNceTile& tile);
  void (*pack_target_channels)(const InfoNceTile& tile);
  // Online sums: highest is the largest score / temperature so far, sums those of e^(score / temperature - highest).
  // All but the sums are in units of log 2: powers of two are computed.
  void (*add_row_sums)(const InfoNceTile& tile, float* highest, double* sums);
  void (*add_column_sums)(const InfoNceTile& tile, float* highest, double* sums);
  // weight = row_weight e^(score / temperature - row_shift) + column_weight e^(score / temperature - column_shift),
  // as row_weights and column_weights; column_shift may be null. Shifts in units of log 2.
  void (*weigh)(const InfoNceTile& tile, const float* row_shift, float row_weight, const float* column_shift,
                float column_weight);
  void (*add_dqueries)(const InfoNceTile& tile, float* dqueries, bool add);  // = or += weights · targets
  void (*add_dtargets)(const InfoNceTile& tile, float* dtargets, bool add);  // = or += weightsᵀ · queries
};

VLM2VEC_DECLARE_KERNELS(InfoNceKernels, info_nce_kernels)

}  // namespace vlm2vec
