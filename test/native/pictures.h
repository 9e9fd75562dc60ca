// Pictures by formula, (height, width, 3) bytes, and what stands for their results where these are too long to write
// down.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "harness.h"

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

// FNV-1a over the bytes.
template <typename T>
uint64_t hash(const std::vector<T>& values) {
  uint64_t result = 0xcbf29ce484222325ull;
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(T); ++i) result = (result ^ bytes[i]) * 0x100000001b3ull;
  return result;
}

}  // namespace vlm2vec::test
