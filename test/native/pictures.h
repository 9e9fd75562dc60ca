// Pictures by formula, (height, width, 3) bytes, and what stands for their results where these are too long to write
// down.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "harness.h"
#include "ops/patchify.h"

namespace vlm2vec::test {

using Pixels = std::vector<uint8_t>;

inline Pixels noise(int width, int height, uint64_t stream) {
  Pixels pixels;
  for (double x : random_numbers(int64_t(width) * height * 3, stream, 100))
    pixels.push_back(uint8_t(int(std::fabs(x)) & 255));
  return pixels;
}

// Slopes, and blocks of full contrast, at which Lanczos and bicubic weights overshoot; a recording script makes it too.
inline Pixels picture(int width, int height) {
  Pixels pixels;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c)
        pixels.push_back((x / 3 + y / 2) % 2 ? uint8_t(c == 1 ? 255 : 0)
                                             : uint8_t(x * 37 + y * 101 + c * 59 + x * y * 7));
  return pixels;
}

inline PatchLayout clip_layout(int patch, int temporal, int merge) {
  return {patch, temporal, merge, {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}};
}

// Frames that follow each other in `pixels`.
inline Picture frames_of(const Pixels& pixels, int width, int height, const PatchLayout& layout) {
  Picture picture;
  picture.pixels = pixels.data();
  picture.size = int64_t(pixels.size());
  picture.layout = layout;
  const int64_t frames = picture.size / (int64_t(width) * height * 3), temporal = layout.temporal_patch_size;
  picture.grid[0] = int32_t((frames + temporal - 1) / temporal);
  picture.grid[1] = height / layout.patch_size;
  picture.grid[2] = width / layout.patch_size;
  return picture;
}

// A canvas of wide x high tiles; with its overview in front, unless that is interpolated.
inline Picture tiles_of(const Pixels& pixels, int wide, int high, int tile, bool interpolated,
                        const PatchLayout& layout) {
  Picture picture = frames_of(pixels, tile, tile, layout);
  picture.grid[0] = 1 + wide * high;
  picture.tiles_wide = wide;
  picture.interpolated = interpolated;
  return picture;
}

// f32 by one thread.
inline std::vector<float> patches_of(const Picture& picture) {
  const auto device = Device::cpu(1);
  const int64_t count = picture.patches(), values = picture.layout.values();
  std::vector<float> patches(size_t(count * values) + 1, -7);
  patchify(Tensor(*device, patches.data(), DType::F32, {count, values}), {picture});
  expect(patches.back() == -7, "written beyond the last patch");
  patches.pop_back();
  return patches;
}

// FNV-1a over the bytes.
template <typename T>
uint64_t hash(const std::vector<T>& values) {
  uint64_t result = 0xcbf29ce484222325ull;
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(T); ++i) result = (result ^ bytes[i]) * 0x100000001b3ull;
  return result;
}

}  // namespace vlm2vec::test
