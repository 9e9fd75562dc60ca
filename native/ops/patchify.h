// Pixels to the flattened patches of Qwen2-VL's vision tower (Qwen2VLImageProcessor._preprocess): rescale, normalise
// and reorder in one pass. Host memory, one thread.
#pragma once
#include <cstdint>

namespace vlm2vec {

struct PatchLayout {
  int patch_size = 14, temporal_patch_size = 2, merge_size = 2;
  float mean[3], std[3];
};

// frames: `frame_count` pictures of (height, width, 3) bytes, height and width multiples of patch_size * merge_size; a
// single picture is one frame; an incomplete last group repeats the last frame. patches: (gt*gh*gw, 3 * temporal *
// patch^2) f32, gt = ceil(frame_count / temporal): merge blocks row-major, rows and columns within a block, then
// (channel, time, y, x). A value is float(float(double(pixel) * (1 / 255.0)) - mean) / std in f32, as the PIL processor
// computes it.
void patchify(float* patches, const uint8_t* const* frames, int frame_count, int width, int height,
              const PatchLayout& layout);

}  // namespace vlm2vec
