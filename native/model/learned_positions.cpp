#include "model/learned_positions.h"

#include <algorithm>
#include <cmath>

#include "ops/weighted_rows.h"

namespace vlm2vec {

LearnedPositions::LearnedPositions(Weights& weights, const std::string& parameter, const VisionConfig& config)
    : table_(&weights.at(parameter)), side_(int64_t(std::sqrt(double(config.position_embeddings)))) {}

void LearnedPositions::forward(const Context& context, Tensor h, const std::vector<int32_t>& positions,
                               const Batch& batch, Saved& s) const {
  const int64_t patches = h.rows();
  s.index = context.scratch.allocate(DType::I32, {patches, 4});
  s.weight = context.scratch.allocate(DType::F32, {patches, 4});
  struct Place {
    int32_t low, high;
    float fraction;
  };
  // torch.linspace(0, side - 1, size)[at]: the grid's corners are the picture's
  const auto place = [&](int32_t at, int32_t size) {
    const float source = float(at * (side_ - 1)) / float(std::max(size - 1, 1));
    const int32_t low = int32_t(source);
    return Place{low, std::min(low + 1, int32_t(side_ - 1)), source - float(low)};
  };
  int64_t p = 0;
  for (const Picture& picture : batch.pictures) {
    const int32_t height = picture.grid[1], width = picture.grid[2];
    for (const int64_t end = p + picture.patches(); p < end; ++p) {
      const Place row = place(positions[size_t(p)], height), column = place(positions[size_t(patches + p)], width);
      int32_t* index = s.index.as<int32_t>() + 4 * p;
      float* weight = s.weight.as<float>() + 4 * p;
      for (int32_t at : {row.low, row.high})
        for (int32_t across : {column.low, column.high}) *index++ = at * int32_t(side_) + across;
      for (float down : {1 - row.fraction, row.fraction})
        for (float across : {1 - column.fraction, column.fraction}) *weight++ = down * across;
    }
  }
  weighted_rows_forward(h, table_->value, s.index, s.weight);
}

void LearnedPositions::backward(Tensor dh, const Saved& s) const {
  if (table_->trained()) weighted_rows_backward(table_->gradient, dh, s.index, s.weight);
}

}  // namespace vlm2vec
