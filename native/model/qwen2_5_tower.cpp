// The vision tower of Qwen2.5-VL: most blocks attend within windows, so patches go through them window by window.
#include <algorithm>

#include "model/qwen_tower.h"

namespace vlm2vec {

// Windows of W x W features, row by row in each temporal slice, cut off at the picture's edge.
static Arrangement arrange_windows(const VisionConfig& config, const Batch& batch) {
  Arrangement result = arrange_slices(config, batch);
  const int64_t merge = config.merge_size, merged = config.merged();
  const int64_t window = config.window_size / merge / config.patch_size;
  result.local_starts.assign(1, 0);
  int32_t first = 0;  // feature of the slice
  for (const Picture& picture : batch.pictures) {
    const int64_t height = picture.grid[1] / merge, width = picture.grid[2] / merge;
    for (int32_t slice = 0; slice < picture.grid[0]; ++slice, first += int32_t(height * width))
      for (int64_t top = 0; top < height; top += window)
        for (int64_t left = 0; left < width; left += window) {
          for (int64_t y = top; y < std::min(top + window, height); ++y)
            for (int64_t x = left; x < std::min(left + window, width); ++x)
              result.order.push_back(first + int32_t(y * width + x));
          result.local_starts.push_back(int32_t(int64_t(result.order.size()) * merged));
        }
  }
  const std::vector<int32_t> before = result.positions;
  const size_t patches = before.size() / 2, each = size_t(merged);
  for (size_t p = 0; p < patches; ++p)
    for (size_t axis : {size_t(0), patches})
      result.positions[axis + p] = before[axis + size_t(result.order[p / each]) * each + p % each];
  return result;
}

QwenTowerSpec qwen2_5_tower(const VisionConfig& config) {
  QwenTowerSpec spec = qwen2_tower(config);
  const auto& full = config.full_attention_blocks;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const std::string mlp = "model.visual.blocks." + std::to_string(i) + ".mlp.";
    spec.blocks[i].local = std::find(full.begin(), full.end(), int64_t(i)) == full.end();
    spec.blocks[i].mlp = {{mlp + "gate_proj", mlp + "up_proj", mlp + "down_proj"}, true, config.activation};
  }
  spec.arrange = arrange_windows;
  return spec;
}

}  // namespace vlm2vec
