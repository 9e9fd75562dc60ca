#include "ops/dropout.h"

#include "ops/dropout_kernels.h"
#include "ops/op_check.h"

namespace vlm2vec {

void dropout_apply(Tensor out, Tensor x, Tensor row_ids, const Dropout& options) {
  const OpCheck check("dropout_apply", "x", x);
  check.main(2, Types::Float);
  check.like("out", out);
  check.fits("row_ids", row_ids, {x.shape[0]}, Types::I32);
  require(options.p >= 0 && options.p < 1, "E_OPTION", "dropout_apply: p ", options.p, " is not in [0, 1)");
  check.on_cpu();
  VLM2VEC_KERNELS(x.device->isa(), dropout_kernels)
      .apply({x.dtype, out.data, x.data, row_ids.as<int32_t>(), x.shape[0], x.shape[1], options, x.device->threads()});
}

}  // namespace vlm2vec
