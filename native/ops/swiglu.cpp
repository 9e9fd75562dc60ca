#include "ops/swiglu.h"

#include "ops/op_check.h"
#include "ops/swiglu_kernels.h"

namespace vlm2vec {

void swiglu_forward(Tensor out, Tensor gate, Tensor up) {
  const OpCheck check("swiglu_forward", "gate", gate);
  check.main(2, Types::Float);
  check.like("out", out);
  check.like("up", up);
  check.on_cpu();
  VLM2VEC_KERNELS(gate.device->isa(), swiglu_kernels)
      .forward({gate.dtype, out.data, gate.data, up.data, gate.size(), gate.device->threads()});
}

void swiglu_backward(Tensor dgate, Tensor dup, Tensor dout, Tensor gate, Tensor up) {
  const OpCheck check("swiglu_backward", "gate", gate);
  check.main(2, Types::Float);
  check.like("dgate", dgate);
  check.like("dup", dup);
  check.like("dout", dout);
  check.like("up", up);
  check.on_cpu();
  VLM2VEC_KERNELS(gate.device->isa(), swiglu_kernels)
      .backward({gate.dtype, dgate.data, dup.data, dout.data, gate.data, up.data, gate.size(), gate.device->threads()});
}

}  // namespace vlm2vec
