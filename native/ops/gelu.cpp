#include "ops/gelu.h"

#include "ops/gelu_kernels.h"
#include "ops/op_check.h"

namespace vlm2vec {

void gelu_forward(Tensor out, Tensor x, Activation kind) {
  const OpCheck check("gelu_forward", "x", x);
  check.main(x.rank, Types::Float);
  check.like("out", out);
  check.on_cpu();
  VLM2VEC_KERNELS(x.device->isa(), gelu_kernels)
      .forward({kind, x.dtype, out.data, x.data, x.size(), x.device->threads()});
}

void gelu_backward(Tensor dx, Tensor dout, Tensor x, Activation kind) {
  const OpCheck check("gelu_backward", "x", x);
  check.main(x.rank, Types::Float);
  check.like("dx", dx);
  check.like("dout", dout);
  check.on_cpu();
  VLM2VEC_KERNELS(x.device->isa(), gelu_kernels)
      .backward({kind, x.dtype, dx.data, dout.data, x.data, x.size(), x.device->threads()});
}

}  // namespace vlm2vec
