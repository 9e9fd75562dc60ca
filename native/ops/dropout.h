// Inverted dropout, counter-based: element (row, column) of stream `stream` is kept iff
// random_uniform(seed, stream, row_ids[row] * columns + column) >= p, then divided by (1 - p). The second pass of
// GradCache draws the same numbers from the same ids, whatever the chunk; backward is forward applied to the gradient.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace vlm2vec {

struct Dropout {
  float p;
  uint64_t seed, stream;
};

// out, x (M, C), one type, f32 or bf16, dense; row_ids (M) i32: the row's place in the whole batch. out may be x.
void dropout_apply(Tensor out, Tensor x, Tensor row_ids, const Dropout& options);

}  // namespace vlm2vec
