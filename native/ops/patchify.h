// Pixels to the flattened patches of a vision tower (Qwen2VLImageProcessor._preprocess): rescale, normalise and reorder
// in one pass. Host memory, one thread.
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
// computes it. line: values from one row of pixels to the next, for a part of a wider picture; 0: width * 3.
void patchify(float* patches, const uint8_t* const* frames, int frame_count, int width, int height,
              const PatchLayout& layout, int64_t line = 0);

// The same of one picture that is normalised already; temporal_patch_size 1.
void patchify_normalised(float* patches, const float* picture, int width, int height, const PatchLayout& layout);

// What a byte becomes in each channel: a pixel has 256 values, so that normalising is a look-up.
struct PixelValues {
  explicit PixelValues(const PatchLayout& layout);
  float operator()(int channel, uint8_t pixel) const { return value[channel][pixel]; }
  float value[3][256];
};

}  // namespace vlm2vec
