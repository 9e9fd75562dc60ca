// The order of ops/patchify.h, plainly: one value of one patch.
#pragma once
#include "ops/patchify.h"

namespace vlm2vec {

inline float patch_value(uint8_t pixel, float mean, float std) {
  return (float(double(pixel) * (1 / 255.0)) - mean) / std;
}

// Patch `index` of the grid, channel c, frame t of its group, row y, column x.
inline float patchify_reference(const uint8_t* const* frames, int frame_count, int width, int height,
                                const PatchLayout& layout, int64_t index, int c, int t, int y, int x) {
  const int merge = layout.merge_size, patch = layout.patch_size;
  const int64_t per_frame = int64_t(width / patch) * (height / patch), blocks_wide = width / patch / merge;
  const int64_t group = index / per_frame, block = index % per_frame / (merge * merge),
                inside = index % (merge * merge);
  const int64_t row = (block / blocks_wide * merge + inside / merge) * patch + y;
  const int64_t column = (block % blocks_wide * merge + inside % merge) * patch + x;
  const int64_t frame = group * layout.temporal_patch_size + t;
  const uint8_t* pixels = frames[frame < frame_count ? frame : frame_count - 1];
  return patch_value(pixels[(row * width + column) * 3 + c], layout.mean[c], layout.std[c]);
}

}  // namespace vlm2vec
