// A pixel has 256 values a channel, so that normalising is a look-up in a table made with the exact formula.
#include "ops/patchify.h"

#include <cstring>

#include "core/error.h"
#include "ops/patchify_reference.h"

namespace vlm2vec {

namespace {

struct Tables {
  float value[3][256];
};

Tables make_tables(const PatchLayout& layout) {
  Tables tables;
  for (int c = 0; c < 3; ++c)
    for (int pixel = 0; pixel < 256; ++pixel)
      tables.value[c][pixel] = patch_value(uint8_t(pixel), layout.mean[c], layout.std[c]);
  return tables;
}

// One patch of one frame: to[c * channel_stride + y * patch + x].
void write_patch(float* to, int64_t channel_stride, const uint8_t* pixels, int64_t line, int patch,
                 const Tables& tables) {
  for (int y = 0; y < patch; ++y) {
    const uint8_t* row = pixels + y * line;
    float* at = to + int64_t(y) * patch;
    for (int x = 0; x < patch; ++x)
      for (int c = 0; c < 3; ++c) at[c * channel_stride + x] = tables.value[c][row[3 * x + c]];
  }
}

}  // namespace

void patchify(float* patches, const uint8_t* const* frames, int frame_count, int width, int height,
              const PatchLayout& layout) {
  const int patch = layout.patch_size, merge = layout.merge_size, temporal = layout.temporal_patch_size;
  require(patch > 0 && merge > 0 && temporal > 0 && frame_count > 0 && width > 0 && height > 0 &&
              width % (patch * merge) == 0 && height % (patch * merge) == 0,
          "E_SHAPE", "patchify: ", frame_count, " frames of ", width, " x ", height, " cannot be cut into patches of ",
          patch, " merged ", merge, " x ", merge, ": sizes must be multiples of ", patch * merge);
  const Tables tables = make_tables(layout);
  const int64_t line = int64_t(width) * 3, area = int64_t(patch) * patch, channel_stride = temporal * area;
  const int groups = (frame_count + temporal - 1) / temporal, step = patch * merge;
  float* to = patches;
  for (int group = 0; group < groups; ++group)
    for (int top = 0; top < height; top += step)
      for (int left = 0; left < width; left += step)
        for (int inside = 0; inside < merge * merge; ++inside, to += 3 * channel_stride) {
          const int64_t offset = (top + inside / merge * patch) * line + (left + inside % merge * patch) * 3;
          for (int t = 0; t < temporal; ++t) {
            const int frame = group * temporal + t;
            if (frame < frame_count) {
              write_patch(to + t * area, channel_stride, frames[frame] + offset, line, patch, tables);
              continue;
            }
            for (int c = 0; c < 3; ++c)  // the last frame again
              std::memcpy(to + c * channel_stride + t * area, to + c * channel_stride + (t - 1) * area,
                          size_t(area) * sizeof(float));
          }
        }
}

}  // namespace vlm2vec
