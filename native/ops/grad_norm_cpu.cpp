#include "core/parallel.h"
#include "ops/grad_norm_kernels.h"

namespace vlm2vec::VLM2VEC_ISA {

static void sum_of_squares(double* partial, const float* x, int64_t size, int threads) {
  const int64_t blocks = (size + kGradNormBlock - 1) / kGradNormBlock;
  parallel_for(threads, blocks, [&](int64_t b) {
    const int64_t begin = b * kGradNormBlock, end = begin + kGradNormBlock < size ? begin + kGradNormBlock : size;
    constexpr int kSums = 16;
    double sums[kSums] = {};
    int64_t i = begin;
    for (; i + kSums <= end; i += kSums)
      for (int k = 0; k < kSums; ++k) sums[k] += double(x[i + k]) * double(x[i + k]);
    for (int k = 0; i + k < end; ++k) sums[k] += double(x[i + k]) * double(x[i + k]);
    double total = 0;
    for (int k = 0; k < kSums; ++k) total += sums[k];
    partial[b] = total;
  });
}

const GradNormKernels grad_norm_kernels = {sum_of_squares};

}  // namespace vlm2vec::VLM2VEC_ISA
