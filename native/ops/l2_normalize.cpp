// One row a sequence: too little work for kernels of its own, so the reference is what runs.
#include "ops/l2_normalize.h"

#include "ops/l2_normalize_reference.h"
#include "ops/op_check.h"

namespace vlm2vec {

void l2_normalize_forward(Tensor out, Tensor norm, Tensor x) {
  const OpCheck check("l2_normalize_forward", "x", x);
  check.main(2, Types::F32);
  check.like("out", out);
  check.fits("norm", norm, {x.shape[0]}, Types::F32);
  check.on_cpu();
  l2_normalize_forward_reference(out.as<float>(), norm.as<float>(), x.as<float>(), x.shape[0], x.shape[1]);
}

void l2_normalize_backward(Tensor dx, Tensor dout, Tensor out, Tensor norm) {
  const OpCheck check("l2_normalize_backward", "out", out);
  check.main(2, Types::F32);
  check.like("dx", dx);
  check.like("dout", dout);
  check.fits("norm", norm, {out.shape[0]}, Types::F32);
  check.on_cpu();
  l2_normalize_backward_reference(dx.as<float>(), dout.as<float>(), out.as<float>(), norm.as<float>(), out.shape[0],
                                  out.shape[1]);
}

}  // namespace vlm2vec
