#include "ops/tiles.h"

#include <cstring>

#include "core/error.h"
#include "ops/tiles_reference.h"

namespace vlm2vec {

namespace {

// As torch adds up four products.
float sum_of_products(const float* values, const float* weights) {
  const float sum = std::fma(values[0], weights[0], values[1] * weights[1]);
  return std::fma(values[3], weights[3], std::fma(values[2], weights[2], sum));
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

Overview::Overview(const uint8_t* canvas, int wide, int high, int tile, const PixelValues& values)
    : canvas_(canvas), line_(int64_t(wide) * tile * 3), values_(values), rows_(size_t(tile)), columns_(size_t(tile)) {
  for (int i = 0; i < tile; ++i) {
    cubic_taps(rows_[size_t(i)].places, rows_[size_t(i)].weights, i, high * tile, tile);
    cubic_taps(columns_[size_t(i)].places, columns_[size_t(i)].weights, i, wide * tile, tile);
  }
}

float Overview::operator()(int channel, int y, int x) const {
  const Taps &row = rows_[size_t(y)], &column = columns_[size_t(x)];
  float sums[4];
  for (int k = 0; k < 4; ++k) {
    const uint8_t* from = canvas_ + row.places[k] * line_ + channel;
    float values[4];
    for (int l = 0; l < 4; ++l) values[l] = values_.value[channel][from[3 * column.places[l]]];
    sums[k] = sum_of_products(values, column.weights);
  }
  return sum_of_products(sums, row.weights);
}

}  // namespace vlm2vec
