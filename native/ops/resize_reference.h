// Weights of Pillow's resize, and the plain passes that ops/resize_cpu.cpp has to equal.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/resize.h"

namespace vlm2vec {

inline double filter_support(Filter filter) {
  return filter == Filter::Bilinear ? 1 : filter == Filter::Bicubic ? 2 : 3;
}

inline double filter_value(Filter filter, double x) {
  const double a = -0.5;
  const auto sinc = [](double v) { return v == 0 ? 1.0 : std::sin(v * M_PI) / (v * M_PI); };
  switch (filter) {
    case Filter::Bilinear: return std::fabs(x) < 1 ? 1 - std::fabs(x) : 0;
    case Filter::Bicubic:
      x = std::fabs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    case Filter::Lanczos: return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
  return 0;
}

struct ResizeWeights {
  int taps;                           // room for each output
  std::vector<int32_t> first, count;  // (to)
  std::vector<int32_t> weights;       // (to, taps), `bits` of them behind the point
};

// Pillow's precompute_coeffs and normalize_coeffs_8bpc, in its order of operations.
inline ResizeWeights resize_weights(int from, int to, Filter filter, int bits) {
  const double scale = double(from) / to, filter_scale = std::max(scale, 1.0);
  const double support = filter_support(filter) * filter_scale, inverse = 1 / filter_scale;
  ResizeWeights result;
  result.taps = int(std::ceil(support)) * 2 + 1;
  result.weights.resize(size_t(to) * size_t(result.taps));
  std::vector<double> values(static_cast<size_t>(result.taps));
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(int(centre - support + 0.5), 0),
              count = std::min(int(centre + support + 0.5), from) - first;
    double total = 0;
    for (int k = 0; k < count; ++k)
      total += values[size_t(k)] = filter_value(filter, (k + first - centre + 0.5) * inverse);
    for (int k = 0; k < count; ++k) {
      const double value = (total != 0 ? values[size_t(k)] / total : values[size_t(k)]) * (1 << bits);
      result.weights[size_t(i) * size_t(result.taps) + size_t(k)] = int32_t(value + (value < 0 ? -0.5 : 0.5));
    }
    result.first.push_back(first);
    result.count.push_back(count);
  }
  return result;
}

// One pass along the middle axis of (outer, from, inner) bytes to (outer, to, inner).
inline std::vector<uint8_t> resize_axis_reference(const std::vector<uint8_t>& pixels, int64_t outer, int from, int to,
                                                  int64_t inner, Filter filter) {
  const int bits = 22;
  const ResizeWeights weights = resize_weights(from, to, filter, bits);
  std::vector<uint8_t> result(size_t(outer * to * inner));
  for (int64_t o = 0; o < outer; ++o)
    for (int i = 0; i < to; ++i)
      for (int64_t j = 0; j < inner; ++j) {
        int64_t sum = int64_t(1) << (bits - 1);
        for (int k = 0; k < weights.count[size_t(i)]; ++k)
          sum += int64_t(weights.weights[size_t(i) * size_t(weights.taps) + size_t(k)]) *
                 pixels[size_t((o * from + weights.first[size_t(i)] + k) * inner + j)];
        result[size_t((o * to + i) * inner + j)] = uint8_t(std::clamp<int64_t>(sum >> bits, 0, 255));
      }
  return result;
}

}  // namespace vlm2vec
