#pragma once
#include <cstdint>

#include "core/isa.h"

namespace vlm2vec {

constexpr int kResizeBits = 22;   // of the fixed-point weights
constexpr int kResizeBlock = 16;  // rows that the horizontal pass takes at once

// One axis: output i is the sum of weights[i * taps + k] * input[first[i] + k], k < count[i].
struct ResizeAxis {
  int size, taps;
  const int32_t *first, *count, *weights;
};

struct ResizeKernels {
  // Output lines from input lines of `length` bytes: the vertical pass.
  void (*lines)(uint8_t* to, const uint8_t* from, const ResizeAxis& axis, int64_t length);
  // from (height, width, 3) to (height, axis.size, 3): the horizontal pass. scratch: (width + axis.size) * 3 *
  // kResizeBlock bytes.
  void (*columns)(uint8_t* to, const uint8_t* from, const ResizeAxis& axis, int64_t width, int64_t height,
                  uint8_t* scratch);
};

VLM2VEC_DECLARE_KERNELS(ResizeKernels, resize_kernels)

}  // namespace vlm2vec
