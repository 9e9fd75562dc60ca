#include "ops/layernorm.h"

#include "ops/layernorm_kernels.h"
#include "ops/op_check.h"

namespace vlm2vec {

void layernorm_forward(Tensor out, Tensor mean, Tensor rstd, Tensor x, Tensor weight, Tensor bias, float eps) {
  const OpCheck check("layernorm_forward", "x", x);
  check.main(2, Types::F32);
  const int64_t rows = x.shape[0], columns = x.shape[1];
  check.fits("out", out, {rows, columns}, Types::Float);
  check.fits("mean", mean, {rows}, Types::F32);
  check.fits("rstd", rstd, {rows}, Types::F32);
  check.fits("weight", weight, {columns}, Types::F32);
  check.fits("bias", bias, {columns}, Types::F32);
  check.on_cpu();
  VLM2VEC_KERNELS(x.device->isa(), layernorm_kernels)
      .forward({out.data, out.dtype, mean.as<float>(), rstd.as<float>(), x.as<float>(), weight.as<float>(),
                bias.as<float>(), eps, rows, columns, x.device->threads()});
}

void layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dout, Tensor x, Tensor weight, Tensor mean,
                        Tensor rstd) {
  const OpCheck check("layernorm_backward", "x", x);
  check.main(2, Types::F32);
  const int64_t rows = x.shape[0], columns = x.shape[1];
  check.fits("dx", dx, {rows, columns}, Types::F32);
  if (dweight || dbias) {
    check.fits("dweight", dweight, {columns}, Types::F32);
    check.fits("dbias", dbias, {columns}, Types::F32);
  }
  check.fits("dout", dout, {rows, columns}, Types::Float);
  check.fits("weight", weight, {columns}, Types::F32);
  check.fits("mean", mean, {rows}, Types::F32);
  check.fits("rstd", rstd, {rows}, Types::F32);
  check.on_cpu();
  VLM2VEC_KERNELS(x.device->isa(), layernorm_kernels)
      .backward({dx.as<float>(), dweight.as<float>(), dbias.as<float>(), dout.data, dout.dtype, x.as<float>(),
                 weight.as<float>(), mean.as<float>(), rstd.as<float>(), rows, columns, x.device->threads()});
}

}  // namespace vlm2vec
