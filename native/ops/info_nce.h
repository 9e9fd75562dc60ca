// The contrastive loss (InfoNCE; VLM2Vec, section 3.2), tiled: the B x N matrix of scores is never stored
// (Cheng et al. 2024, arXiv 2410.17243). Scores s_ij = q_i·t_j / temperature.
//
// Query i has positives P_i (at least one). Its negatives are all targets outside P_i that no mask excludes. With
// R_i = sum over negatives e^{s_ij}:
//   loss_i = mean over p in P_i of [ log(R_i + e^{s_ip}) - s_ip ],      loss = mean over i of loss_i
// symmetric: loss = (that + the same from targets to queries) / 2, over targets that are some query's positive; a
// target's
//   positives are the queries that name it, weighted as in the first half.
// Gradients: for a negative, d loss_i / d s_ij = e^{s_ij} mean_p 1 / (R_i + e^{s_ip}); for a positive,
//   (e^{s_ip} / (R_i + e^{s_ip}) - 1) / |P_i|. Positives are applied exactly, outside the tiles.
//   dtemperature = - sum_ij (d loss / d s_ij) s_ij / temperature.
// Everything is f32 with f64 row sums (products: `dtype` below); sums have a fixed order that does not depend on the
// number of threads. Workspace: O(tile D + tile^2 + B + N), tile = 1440: with gradients 57 MiB for D = 1,536, and 24
// bytes a row, and up to 12 tiles (95 MiB) more, of scores that the second pass need not make again.
#pragma once
#include <cstdint>

#include "core/arena.h"

namespace vlm2vec {

struct InfoNceOptions {
  float temperature = 0.02f;
  bool symmetric = false;
  // BF16: the products of all pairs (not the positives' own scores) may be made of numbers rounded to bf16, summed in
  // f32, where that is faster. Inputs and results are f32 in any case.
  DType dtype = DType::F32;
  // Positives of query i: positives[positive_starts[i] .. positive_starts[i + 1]), indices into the targets. Host
  // memory.
  const int32_t* positive_starts = nullptr;  // (B + 1)
  const int32_t* positives = nullptr;
  // Optional false-negative mask. Ids of query i: query_ids[query_id_starts[i] .. query_id_starts[i + 1]); a target
  // whose id is among them, and which is not a positive of i, is left out. Ids below 0 match nothing. Host memory.
  const int32_t* query_id_starts = nullptr;  // (B + 1)
  const int32_t* query_ids = nullptr;
  const int32_t* target_ids = nullptr;  // (N)
};

struct InfoNceResult {
  double loss;
  double dtemperature;  // 0 without gradients
};

// queries (B, D), targets (N, D) f32. dqueries, dtargets: same shapes, f32, overwritten; or both absent (loss only).
// scratch: workspace, given back on return. E_SHAPE, E_OPTION (temperature not > 0, half a mask), E_BATCH (no query, a
// positive out of range, a query without one).
InfoNceResult info_nce(Tensor dqueries, Tensor dtargets, Tensor queries, Tensor targets, const InfoNceOptions& options,
                       Arena& scratch);

}  // namespace vlm2vec
