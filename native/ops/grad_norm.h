// Sum of squares of a gradient, in f64 and in a fixed order that does not depend on the number of threads.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// x f32, dense, any shape.
double sum_of_squares(Tensor x);

}  // namespace vlm2vec
