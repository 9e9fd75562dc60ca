#include "ops/patchify.h"

#include <cstring>

#include "core/error.h"
#include "ops/patchify_reference.h"

namespace vlm2vec {

PixelValues::PixelValues(const PatchLayout& layout) {
  for (int c = 0; c < 3; ++c)
    for (int pixel = 0; pixel < 256; ++pixel)
      value[c][pixel] = patch_value(uint8_t(pixel), layout.mean[c], layout.std[c]);
}

namespace {

void check(int frame_count, int width, int height, const PatchLayout& layout) {
  const int patch = layout.patch_size, merge = layout.merge_size;
  require(patch > 0 && merge > 0 && layout.temporal_patch_size > 0 && frame_count > 0 && width > 0 && height > 0 &&
              width % (patch * merge) == 0 && height % (patch * merge) == 0,
          "E_SHAPE", "patchify: ", frame_count, " frames of ", width, " x ", height, " cannot be cut into patches of ",
          patch, " merged ", merge, " x ", merge, ": sizes must be multiples of ", patch * merge);
}

// One patch of one frame: to[c * channel_stride + y * patch + x]. values(c) gives the function of a channel's pixels.
template <typename Pixel, typename Values>
void write_patch(float* to, int64_t channel_stride, const Pixel* pixels, int64_t line, int patch,
                 const Values& values) {
  for (int c = 0; c < 3; ++c) {
    const auto value = values(c);
    for (int y = 0; y < patch; ++y) {
      const Pixel* row = pixels + y * line + c;
      float* at = to + c * channel_stride + int64_t(y) * patch;
      for (int x = 0; x < patch; ++x) at[x] = value(row[3 * x]);
    }
  }
}

// f(corner): for every patch of a picture in order, the place of its first value in the picture.
template <typename F>
void each_patch(int width, int height, int64_t line, const PatchLayout& layout, const F& f) {
  const int patch = layout.patch_size, merge = layout.merge_size, step = patch * merge;
  for (int top = 0; top < height; top += step)
    for (int left = 0; left < width; left += step)
      for (int inside = 0; inside < merge * merge; ++inside)
        f((top + inside / merge * patch) * line + (left + inside % merge * patch) * 3);
}

}  // namespace

void patchify(float* patches, const uint8_t* const* frames, int frame_count, int width, int height,
              const PatchLayout& layout, int64_t line) {
  check(frame_count, width, height, layout);
  const PixelValues table(layout);
  const auto values = [&](int c) { return [of = table.value[c]](uint8_t pixel) { return of[pixel]; }; };
  if (line == 0) line = int64_t(width) * 3;
  const int patch = layout.patch_size, temporal = layout.temporal_patch_size;
  const int64_t area = int64_t(patch) * patch, channel_stride = temporal * area;
  const int groups = (frame_count + temporal - 1) / temporal;
  float* to = patches;
  for (int group = 0; group < groups; ++group)
    each_patch(width, height, line, layout, [&](int64_t corner) {
      for (int t = 0; t < temporal; ++t) {
        const int frame = group * temporal + t;
        if (frame < frame_count) {
          write_patch(to + t * area, channel_stride, frames[frame] + corner, line, patch, values);
          continue;
        }
        for (int c = 0; c < 3; ++c)  // the last frame again
          std::memcpy(to + c * channel_stride + t * area, to + c * channel_stride + (t - 1) * area,
                      size_t(area) * sizeof(float));
      }
      to += 3 * channel_stride;
    });
}

void patchify_normalised(float* patches, const float* picture, int width, int height, const PatchLayout& layout) {
  check(1, width, height, layout);
  const int patch = layout.patch_size;
  const int64_t area = int64_t(patch) * patch, line = int64_t(width) * 3;
  each_patch(width, height, line, layout, [&](int64_t corner) {
    const auto values = [](int) { return [](float value) { return value; }; };
    write_patch(patches, area, picture + corner, line, patch, values);
    patches += 3 * area;
  });
}

}  // namespace vlm2vec
