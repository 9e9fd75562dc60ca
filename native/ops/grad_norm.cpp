#include "ops/grad_norm.h"

#include <vector>

#include "ops/grad_norm_kernels.h"
#include "ops/op_check.h"

namespace vlm2vec {

double sum_of_squares(Tensor x) {
  const OpCheck check("sum_of_squares", "x", x);
  check.main(x.rank, Types::F32);
  check.on_cpu();
  std::vector<double> partial(size_t((x.size() + kGradNormBlock - 1) / kGradNormBlock));
  VLM2VEC_KERNELS(x.device->isa(), grad_norm_kernels)
      .sum_of_squares(partial.data(), x.as<float>(), x.size(), x.device->threads());
  double total = 0;
  for (double sum : partial) total += sum;
  return total;
}

}  // namespace vlm2vec
