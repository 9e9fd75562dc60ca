#include "ops/adamw.h"

#include "ops/adamw_kernels.h"
#include "ops/op_check.h"

namespace vlm2vec {

void adamw_update(Tensor parameter, Tensor shadow, Tensor m, Tensor v, Tensor gradient, const AdamW& options) {
  const OpCheck check("adamw_update", "parameter", parameter);
  check.main(parameter.rank, Types::F32);
  check.like("m", m);
  check.like("v", v);
  check.like("gradient", gradient);
  require(shadow.absent() || (shadow.dtype == DType::BF16 && shadow.dense() && shadow.size() == parameter.size()),
          "E_SHAPE", "adamw_update: shadow ", shadow, " does not fit parameter ", parameter,
          ": expected its size in bf16");
  require(options.step >= 1, "E_OPTION", "adamw_update: step ", options.step, " is below 1");
  check.on_cpu();
  VLM2VEC_KERNELS(parameter.device->isa(), adamw_kernels)
      .update({parameter.as<float>(), shadow.as<bf16>(), m.as<float>(), v.as<float>(), gradient.as<float>(),
               parameter.size(), parameter.device->threads()},
              options);
}

}  // namespace vlm2vec
