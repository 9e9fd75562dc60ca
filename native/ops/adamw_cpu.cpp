#include <cmath>

#include "ops/adamw_kernels.h"
#include "ops/loops.h"

namespace vlm2vec::VLM2VEC_ISA {

static inline Floats square_root(Floats x) {
  Floats y;
  for (int i = 0; i < kLanes; ++i) y[i] = __builtin_sqrtf(x[i]);
  return y;
}

// Factors are made in f64 and rounded once, as PyTorch does with its Python numbers.
static void update(const AdamWUpdate& a, const AdamW& options) {
  const double c1 = 1 - pow(options.beta1, double(options.step)), c2 = 1 - pow(options.beta2, double(options.step));
  const float keep = float(1 - options.learning_rate * options.weight_decay), scale = float(options.gradient_scale);
  const float mix = float(1 - options.beta1), b2 = float(options.beta2), add = float(1 - options.beta2);
  const float step = float(options.learning_rate / c1), root = float(__builtin_sqrt(c2)), eps = float(options.eps);
  each_vector(a.threads, a.size, [&](int64_t i, int n) {
    const Floats g = scale * load(a.gradient + i, n);
    const Floats m = load(a.m + i, n), next_m = m + mix * (g - m);
    const Floats next_v = b2 * load(a.v + i, n) + add * g * g;
    const Floats p = keep * load(a.parameter + i, n) - step * next_m / (square_root(next_v) / root + eps);
    store(a.m + i, next_m, n);
    store(a.v + i, next_v, n);
    store(a.parameter + i, p, n);
    if (a.shadow) store(a.shadow + i, p, n);
  });
}

const AdamWKernels adamw_kernels = {update};

}  // namespace vlm2vec::VLM2VEC_ISA
