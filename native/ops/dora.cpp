#include "ops/dora.h"

#include "ops/dora_kernels.h"
#include "ops/op_check.h"

namespace vlm2vec {

void dora_norm(Tensor norm, Tensor w, Tensor a, Tensor b, float s) {
  const OpCheck check("dora_norm", "w", w);
  check.main(2, Types::Float);
  require(!a.absent(), "E_SHAPE", "dora_norm: a is absent");
  const int64_t rows = w.shape[0], columns = w.shape[1], rank = a.shape[0];
  check.fits("a", a, {rank, columns}, Types::F32);
  check.fits("b", b, {rows, rank}, Types::F32);
  check.fits("norm", norm, {rows}, Types::F32);
  check.on_cpu();
  VLM2VEC_KERNELS(w.device->isa(), dora_kernels)
      .norm({norm.as<float>(), w.data, w.dtype, a.as<float>(), b.as<float>(), s, rows, columns, rank,
             w.device->threads()});
}

void row_scale_forward(Tensor out, Tensor z, Tensor c, Tensor bias) {
  const OpCheck check("row_scale_forward", "z", z);
  check.main(2, Types::Float);
  const int64_t rows = z.shape[0], columns = z.shape[1];
  check.fits("out", out, {rows, columns}, Types::Float);
  check.fits("c", c, {columns}, Types::F32);
  if (bias) check.fits("bias", bias, {columns}, Types::F32);
  require(out.data != z.data || out.dtype == z.dtype, "E_SHAPE", "row_scale_forward: in place out ", out,
          " must have the type of z ", z);
  check.on_cpu();
  VLM2VEC_KERNELS(z.device->isa(), dora_kernels)
      .row_scale_forward(
          {out.data, out.dtype, z.data, z.dtype, c.as<float>(), bias.as<float>(), rows, columns, z.device->threads()});
}

void row_scale_backward(Tensor dz, Tensor dm, Tensor dout, Tensor z, Tensor c, Tensor norm) {
  const OpCheck check("row_scale_backward", "z", z);
  check.main(2, Types::Float);
  const int64_t rows = z.shape[0], columns = z.shape[1];
  check.like("dz", dz);
  check.like("dout", dout);
  for (const auto& [name, tensor] : {std::pair("dm", dm), std::pair("c", c), std::pair("norm", norm)})
    check.fits(name, tensor, {columns}, Types::F32);
  check.on_cpu();
  VLM2VEC_KERNELS(z.device->isa(), dora_kernels)
      .row_scale_backward({dz.data, dm.as<float>(), dout.data, z.data, z.dtype, c.as<float>(), norm.as<float>(), rows,
                           columns, z.device->threads()});
}

}  // namespace vlm2vec
