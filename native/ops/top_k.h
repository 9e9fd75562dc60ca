// The k best targets of each query by dot product, best first. Equal scores rank by target index, but with the targets
// named in `last` (the correct answers) after the others of the same score, so that ties never flatter.
#pragma once
#include <cstdint>

#include "core/arena.h"

namespace vlm2vec {

struct TopKOptions {
  int64_t k;
  // Optional: query i ranks only candidates[candidate_starts[i] .. candidate_starts[i + 1]), target indices in any
  // order; equal scores then rank by their order in this list.
  const int32_t* candidate_starts = nullptr;
  const int32_t* candidates = nullptr;
  // Optional: correct answers of query i, in the same form.
  const int32_t* last_starts = nullptr;
  const int32_t* last = nullptr;
};

// indices (B, k) i32 and scores (B, k) f32, in host memory; queries (B, D), targets (N, D) f32. Where a query has fewer
// than k candidates the rest is index -1, score -inf. The dot product of two rows has the same bits wherever they
// stand.
void top_k(int32_t* indices, float* scores, Tensor queries, Tensor targets, const TopKOptions& options, Arena& scratch);

}  // namespace vlm2vec
