#include "ops/rope.h"

#include "core/parallel.h"
#include "ops/op_check.h"
#include "ops/rope_kernels.h"
#include "ops/rope_reference.h"

namespace vlm2vec {

void rope_table(Tensor cos, Tensor sin, Tensor positions, Tensor axis, Tensor inverse_frequency) {
  const OpCheck check("rope_table", "positions", positions);
  check.main(2, Types::I32);
  const int64_t axes = positions.shape[0], rows = positions.shape[1], half = axis.shape[0];
  check.fits("axis", axis, {half}, Types::I32);
  check.fits("inverse_frequency", inverse_frequency, {half}, Types::F32);
  check.fits("cos", cos, {rows, half}, Types::F32);
  check.fits("sin", sin, {rows, half}, Types::F32);
  check.on_cpu();
  for (int64_t j = 0; j < half; ++j)
    require(axis.as<int32_t>()[j] >= 0 && axis.as<int32_t>()[j] < axes, "E_BATCH", "rope_table: axis[", j,
            "] = ", axis.as<int32_t>()[j], " is outside of positions ", positions);
  // once a batch, not once a layer: the C library's sine is quick enough
  parallel_blocks(cos.device->threads(), rows, 16, [&](int64_t begin, int64_t end) {
    rope_table_reference(cos.as<float>(), sin.as<float>(), positions.as<int32_t>(), axis.as<int32_t>(),
                         inverse_frequency.as<float>(), rows, half, begin, end);
  });
}

void rope_apply(Tensor x, Tensor cos, Tensor sin, bool inverse) {
  const OpCheck check("rope_apply", "x", x);
  check.main(3, Types::Float, Rows::Strided);
  const int64_t rows = x.shape[0], half = x.shape[2] / 2;
  require(x.shape[2] % 2 == 0, "E_SHAPE", "rope_apply: x ", x, " has a head size that is not even");
  check.fits("cos", cos, {rows, half}, Types::F32);
  check.fits("sin", sin, {rows, half}, Types::F32);
  check.on_cpu();
  VLM2VEC_KERNELS(x.device->isa(), rope_kernels)
      .apply({x.data, x.dtype, x.row_stride, cos.as<float>(), sin.as<float>(), rows, x.shape[1], half, inverse,
              x.device->threads()});
}

}  // namespace vlm2vec
