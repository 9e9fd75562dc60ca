#include "ops/tiles.h"

#include <cstring>
#include <vector>

#include "core/error.h"
#include "ops/tiles_reference.h"

namespace vlm2vec {

namespace {

void check(const char* name, int width, int height, int tile, const PatchLayout& layout) {
  const int step = layout.patch_size * layout.merge_size;
  require(layout.temporal_patch_size == 1 && step > 0 && tile > 0 && tile % step == 0 && width > 0 && height > 0 &&
              width % tile == 0 && height % tile == 0,
          "E_SHAPE", name, ": ", width, " x ", height, " cannot be cut into tiles of ", tile, " and patches of ",
          layout.patch_size, " merged ", layout.merge_size, " x ", layout.merge_size);
}

// As torch adds up four products.
float sum_of_products(const float* values, int64_t stride, const float* weights) {
  float sum = std::fma(values[0], weights[0], values[stride] * weights[1]);
  sum = std::fma(values[2 * stride], weights[2], sum);
  return std::fma(values[3 * stride], weights[3], sum);
}

}  // namespace

void transpose_pixels(uint8_t* to, const uint8_t* from, int width, int height) {
  for (int x = 0; x < width; ++x)
    for (int y = 0; y < height; ++y, to += 3) std::memcpy(to, from + (int64_t(y) * width + x) * 3, 3);
}

void paste(uint8_t* canvas, const Canvas& layout, const uint8_t* picture, int width, int height) {
  require(layout.left >= 0 && layout.top >= 0 && layout.left + width <= layout.width &&
              layout.top + height <= layout.height,
          "E_SHAPE", "paste: ", width, " x ", height, " at ", layout.left, ", ", layout.top, " leaves the canvas of ",
          layout.width, " x ", layout.height);
  std::memset(canvas, layout.fill, size_t(layout.width) * size_t(layout.height) * 3);
  for (int y = 0; y < height; ++y)
    std::memcpy(canvas + (int64_t(layout.top + y) * layout.width + layout.left) * 3, picture + int64_t(y) * width * 3,
                size_t(width) * 3);
}

void tile_patches(float* patches, const uint8_t* canvas, int width, int height, int tile, const PatchLayout& layout) {
  check("tile_patches", width, height, tile, layout);
  const int64_t line = int64_t(width) * 3;
  for (int top = 0; top < height; top += tile)
    for (int left = 0; left < width; left += tile, patches += int64_t(tile) * tile * 3) {
      const uint8_t* corner = canvas + top * line + int64_t(left) * 3;
      patchify(patches, &corner, 1, tile, tile, layout, line);
    }
}

void overview_patches(float* patches, const uint8_t* canvas, int width, int height, int tile,
                      const PatchLayout& layout) {
  check("overview_patches", width, height, tile, layout);
  const PixelValues value_of(layout);
  std::vector<int> columns(size_t(tile) * 4);
  std::vector<float> weights(size_t(tile) * 4);
  for (int x = 0; x < tile; ++x) cubic_taps(&columns[size_t(x) * 4], &weights[size_t(x) * 4], x, width, tile);

  const int64_t line = int64_t(tile) * 3;
  std::vector<float> rows(size_t(line) * 4), overview(size_t(tile) * size_t(line));
  for (int y = 0; y < tile; ++y) {
    int places[4];
    float row_weights[4];
    cubic_taps(places, row_weights, y, height, tile);
    for (int k = 0; k < 4; ++k) {
      const uint8_t* from = canvas + int64_t(places[k]) * width * 3;
      for (int x = 0; x < tile; ++x)
        for (int c = 0; c < 3; ++c) {
          float values[4];
          for (int l = 0; l < 4; ++l) values[l] = value_of(c, from[3 * columns[size_t(x * 4 + l)] + c]);
          rows[size_t(k * line + 3 * x + c)] = sum_of_products(values, 1, &weights[size_t(x) * 4]);
        }
    }
    for (int64_t i = 0; i < line; ++i)
      overview[size_t(y * line + i)] = sum_of_products(&rows[size_t(i)], line, row_weights);
  }
  patchify_normalised(patches, overview.data(), tile, tile, layout);
}

}  // namespace vlm2vec
