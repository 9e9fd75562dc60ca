// Rows are copied or added whole: memory is the limit, and there is nothing for an instruction set to gain.
#include "ops/gather.h"

#include <cstring>

#include "core/parallel.h"
#include "ops/op_check.h"

namespace vlm2vec {

namespace {

constexpr int64_t kGrain = 16;  // rows

void check_rows(const char* op, Tensor rows, int64_t count, int64_t extra) {
  const int32_t* at = rows.as<int32_t>();
  for (int64_t n = 0; n < rows.size(); ++n)
    require(at[n] >= -extra && at[n] < count, "E_BATCH", op, ": rows[", n, "] = ", at[n], " is outside of x (", count,
            " rows) and extra (", extra, " rows)");
}

}  // namespace

void gather_rows_forward(Tensor out, Tensor x, Tensor extra, Tensor rows) {
  const OpCheck check("gather_rows_forward", "x", x);
  check.main(2, Types::F32);
  const int64_t count = rows.shape[0], columns = x.shape[1];
  check.fits("rows", rows, {count}, Types::I32);
  check.fits("out", out, {count, columns}, Types::F32);
  if (extra) check.fits("extra", extra, {extra.shape[0], columns}, Types::F32);
  check.on_cpu();
  check_rows("gather_rows_forward", rows, x.shape[0], extra ? extra.shape[0] : 0);
  parallel_blocks(x.device->threads(), count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t row = rows.as<int32_t>()[n];
      const float* from = row >= 0 ? x.as<float>() + row * columns : extra.as<float>() + (-1 - row) * columns;
      std::memcpy(out.as<float>() + n * columns, from, size_t(columns) * sizeof(float));
    }
  });
}

void gather_rows_backward(Tensor dx, Tensor dextra, Tensor dout, Tensor rows) {
  const OpCheck check("gather_rows_backward", "dout", dout);
  check.main(2, Types::F32);
  const int64_t count = rows.shape[0], columns = dout.shape[1];
  check.fits("rows", rows, {count}, Types::I32);
  check.fits("dout", dout, {count, columns}, Types::F32);
  if (dx) check.fits("dx", dx, {dx.shape[0], columns}, Types::F32);
  if (dextra) check.fits("dextra", dextra, {dextra.shape[0], columns}, Types::F32);
  check.on_cpu();
  const int64_t any = int64_t(1) << 31;
  check_rows("gather_rows_backward", rows, dx ? dx.shape[0] : any, dextra ? dextra.shape[0] : any);
  // threads share out the columns: a row that occurs twice is added in order of n
  parallel_blocks(dout.device->threads(), columns, 64, [&](int64_t begin, int64_t end) {
    for (int64_t n = 0; n < count; ++n) {
      const int64_t row = rows.as<int32_t>()[n];
      const Tensor& into = row >= 0 ? dx : dextra;
      if (into.absent()) continue;
      float* to = into.as<float>() + (row >= 0 ? row : -1 - row) * columns;
      const float* from = dout.as<float>() + n * columns;
      for (int64_t c = begin; c < end; ++c) to[c] += from[c];
    }
  });
}

}  // namespace vlm2vec
