#include "ops/resize.h"

#include <cstring>
#include <memory>

#include "core/error.h"
#include "ops/resize_kernels.h"
#include "ops/resize_reference.h"

namespace vlm2vec {

namespace {

ResizeAxis view(const ResizeWeights& weights) {
  return {int(weights.first.size()), weights.taps, weights.first.data(), weights.count.data(), weights.weights.data()};
}

}  // namespace

void resize(uint8_t* to, int to_width, int to_height, const uint8_t* from, int width, int height, Filter filter,
            Isa isa) {
  require(width > 0 && height > 0 && to_width > 0 && to_height > 0, "E_SHAPE", "resize: from ", width, " x ", height,
          " to ", to_width, " x ", to_height, ": every size must be at least 1");
  const ResizeKernels& kernels = VLM2VEC_KERNELS(isa, resize_kernels);
  const bool horizontal = to_width != width, vertical = to_height != height;
  const int64_t line = int64_t(to_width) * 3;
  if (!horizontal && !vertical) {
    std::memcpy(to, from, size_t(height * line));
    return;
  }
  std::unique_ptr<uint8_t[]> between;  // (height, to_width, 3)
  if (horizontal) {
    uint8_t* target = to;
    if (vertical) {
      between.reset(new uint8_t[size_t(height * line)]);
      target = between.get();
    }
    const ResizeWeights weights = resize_weights(width, to_width, filter, kResizeBits);
    const std::unique_ptr<uint8_t[]> scratch(new uint8_t[(size_t(width) + size_t(to_width)) * 3 * kResizeBlock]);
    kernels.columns(target, from, view(weights), width, height, scratch.get());
    from = target;
  }
  if (vertical) kernels.lines(to, from, view(resize_weights(height, to_height, filter, kResizeBits)), line);
}

}  // namespace vlm2vec
