// What a Batch points to.
#pragma once
#include <algorithm>
#include <vector>

#include "core/random.h"
#include "model/batch.h"

namespace vlm2vec::test {

struct BatchArrays {
  std::vector<int32_t> tokens, starts{0}, positions, grids;
  std::vector<int32_t> feature_rows;  // none where empty
  std::vector<uint8_t> pixels;        // of all pictures, every group of frames whole

  // Random bytes for a picture of this grid, whose patches have `values` numbers.
  void add_picture(const std::vector<int32_t>& grid, int64_t values, uint64_t seed) {
    grids.insert(grids.end(), grid.begin(), grid.end());
    const int64_t count = values * grid[0] * grid[1] * grid[2];
    for (int64_t i = 0; i < count; ++i) pixels.push_back(uint8_t(random_bits(3, seed, uint64_t(i))));
  }
  int64_t patch_count() const {
    int64_t count = 0;
    for (size_t i = 0; i < grids.size(); i += 3) count += int64_t(grids[i]) * grids[i + 1] * grids[i + 2];
    return count;
  }

  // Patches of 2 x 2, which are about standard normal in size. Valid while the arrays are as they are.
  Batch batch(int temporal_patch_size, int merge_size) const {
    Batch result;
    result.tokens = tokens.data();
    result.seq_starts = starts.data();
    result.positions = positions.data();
    if (!feature_rows.empty()) result.feature_rows = feature_rows.data();
    result.feature_row_count = int64_t(feature_rows.size());
    result.token_count = int64_t(tokens.size());
    result.sequence_count = int64_t(starts.size()) - 1;
    const uint8_t* next = pixels.data();
    for (size_t i = 0; i < grids.size(); i += 3) {
      Picture picture;
      picture.pixels = next;
      picture.layout = {2, temporal_patch_size, merge_size, {0.5f, 0.5f, 0.5f}, {0.29f, 0.29f, 0.29f}};
      std::copy_n(&grids[i], 3, picture.grid);
      picture.size = picture.patches() * picture.layout.values();
      next += picture.size;
      result.pictures.push_back(picture);
    }
    return result;
  }
};

}  // namespace vlm2vec::test
