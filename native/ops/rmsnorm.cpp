#include "ops/rmsnorm.h"

#include "ops/op_check.h"
#include "ops/rmsnorm_kernels.h"

namespace vlm2vec {

namespace cuda {
void rmsnorm_forward(Tensor out, Tensor rstd, Tensor x, Tensor weight, float eps);
void rmsnorm_backward(Tensor dx, Tensor dweight, Tensor dout, Tensor x, Tensor weight, Tensor rstd);
}  // namespace cuda

void rmsnorm_forward(Tensor out, Tensor rstd, Tensor x, Tensor weight, float eps) {
  const OpCheck check("rmsnorm_forward", "x", x);
  check.main(2, Types::Float, Rows::Strided);
  const int64_t rows = x.shape[0], columns = x.shape[1];
  check.fits("out", out, {rows, columns}, Types::Float, Rows::Strided);
  check.fits("rstd", rstd, {rows}, Types::F32);
  check.fits("weight", weight, {columns}, Types::F32);
  VLM2VEC_DISPATCH_CUDA(*x.device, rmsnorm_forward(out, rstd, x, weight, eps));
  VLM2VEC_KERNELS(x.device->isa(), rmsnorm_kernels)
      .forward({out.data, out.dtype, out.row_stride, rstd.as<float>(), x.data, x.dtype, x.row_stride,
                weight.as<float>(), eps, rows, columns, x.device->threads()});
}

void rmsnorm_backward(Tensor dx, Tensor dweight, Tensor dout, Tensor x, Tensor weight, Tensor rstd) {
  const OpCheck check("rmsnorm_backward", "x", x);
  check.main(2, Types::Float, Rows::Strided);
  const int64_t rows = x.shape[0], columns = x.shape[1];
  check.fits("dx", dx, {rows, columns}, Types::F32, Rows::Strided);
  if (dweight) check.fits("dweight", dweight, {columns}, Types::F32);
  check.fits("dout", dout, {rows, columns}, Types::Float, Rows::Strided);
  check.fits("weight", weight, {columns}, Types::F32);
  check.fits("rstd", rstd, {rows}, Types::F32);
  VLM2VEC_DISPATCH_CUDA(*x.device, rmsnorm_backward(dx, dweight, dout, x, weight, rstd));
  VLM2VEC_KERNELS(x.device->isa(), rmsnorm_kernels)
      .backward({dx.as<float>(), dx.row_stride, dweight.as<float>(), dout.data, dout.dtype, dout.row_stride, x.data,
                 x.dtype, x.row_stride, weight.as<float>(), rstd.as<float>(), rows, columns, x.device->threads()});
}

}  // namespace vlm2vec
