// What a Batch points to.
#pragma once
#include <vector>

#include "model/batch.h"

namespace vlm2vec::test {

struct BatchArrays {
  std::vector<int32_t> tokens, starts{0}, positions, grids;
  std::vector<int32_t> feature_rows;  // none where empty
  std::vector<float> patches;

  // `patch_values`: numbers a patch. Valid while the arrays are as they are.
  Batch batch(int64_t patch_values) const {
    Batch result;
    result.tokens = tokens.data();
    result.seq_starts = starts.data();
    result.positions = positions.data();
    result.grids = grids.data();
    if (!feature_rows.empty()) result.feature_rows = feature_rows.data();
    result.feature_row_count = int64_t(feature_rows.size());
    result.token_count = int64_t(tokens.size());
    result.sequence_count = int64_t(starts.size()) - 1;
    result.patch_count = int64_t(patches.size()) / patch_values;
    result.image_count = int64_t(grids.size()) / 3;
    result.patch_values = patch_values;
    const float* next = patches.data();
    for (int64_t i = 0; i < result.image_count; ++i) {
      result.patches.push_back(next);
      next += result.patches_of(i) * patch_values;
    }
    return result;
  }
};

}  // namespace vlm2vec::test
