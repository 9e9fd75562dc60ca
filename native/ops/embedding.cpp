// Rows are copied or added whole, so that there is nothing for an instruction set to gain: memory is the limit.
#include "ops/embedding.h"

#include <cstring>

#include "core/parallel.h"
#include "ops/op_check.h"

namespace vlm2vec {

namespace {

constexpr int64_t kGrain = 16;  // rows

void check_indices(const char* op, const char* name, Tensor indices, const char* of, int64_t limit, int32_t least = 0) {
  const int32_t* at = indices.as<int32_t>();
  for (int64_t i = 0; i < indices.size(); ++i)
    require(at[i] >= least && at[i] < limit, "E_BATCH", op, ": ", name, "[", i, "] = ", at[i], " is outside of ", of,
            " (", limit, " rows)");
}

}  // namespace

void embedding_forward(Tensor out, Tensor tokens, Tensor table) {
  const OpCheck check("embedding_forward", "table", table);
  check.main(2, Types::Float);
  const int64_t count = tokens.shape[0], columns = table.shape[1];
  check.fits("tokens", tokens, {count}, Types::I32);
  check.fits("out", out, {count, columns}, Types::F32);
  check.on_cpu();
  check_indices("embedding_forward", "tokens", tokens, "table", table.shape[0], INT32_MIN);
  parallel_blocks(out.device->threads(), count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t from = tokens.as<int32_t>()[t] * columns;
      float* to = out.as<float>() + t * columns;
      if (from < 0)
        std::memset(to, 0, size_t(columns) * sizeof(float));
      else if (table.dtype == DType::F32)
        std::memcpy(to, table.as<float>() + from, size_t(columns) * sizeof(float));
      else
        for (int64_t c = 0; c < columns; ++c) to[c] = to_float(table.as<bf16>()[from + c]);
    }
  });
}

void embedding_backward(Tensor dtable, Tensor tokens, Tensor dout) {
  const OpCheck check("embedding_backward", "dtable", dtable);
  check.main(2, Types::F32);
  const int64_t count = tokens.shape[0], columns = dtable.shape[1];
  check.fits("tokens", tokens, {count}, Types::I32);
  check.fits("dout", dout, {count, columns}, Types::F32);
  check.on_cpu();
  check_indices("embedding_backward", "tokens", tokens, "dtable", dtable.shape[0], INT32_MIN);
  // threads share out the columns: a token that occurs twice is added in order of t
  parallel_blocks(dout.device->threads(), columns, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < count; ++t) {
      if (tokens.as<int32_t>()[t] < 0) continue;
      float* to = dtable.as<float>() + tokens.as<int32_t>()[t] * columns;
      const float* from = dout.as<float>() + t * columns;
      for (int64_t c = begin; c < end; ++c) to[c] += from[c];
    }
  });
}

void scatter_rows_forward(Tensor x, Tensor features, Tensor rows) {
  const OpCheck check("scatter_rows_forward", "x", x);
  check.main(2, Types::F32);
  const int64_t count = rows.shape[0], columns = x.shape[1];
  check.fits("rows", rows, {count}, Types::I32);
  check.fits("features", features, {count, columns}, Types::F32);
  check.on_cpu();
  check_indices("scatter_rows_forward", "rows", rows, "x", x.shape[0]);
  for (int64_t n = 0; n < count; ++n)
    std::memcpy(x.as<float>() + rows.as<int32_t>()[n] * columns, features.as<float>() + n * columns,
                size_t(columns) * sizeof(float));
}

void scatter_rows_backward(Tensor dfeatures, Tensor dx, Tensor rows) {
  const OpCheck check("scatter_rows_backward", "dx", dx);
  check.main(2, Types::F32);
  const int64_t count = rows.shape[0], columns = dx.shape[1];
  check.fits("rows", rows, {count}, Types::I32);
  if (dfeatures) check.fits("dfeatures", dfeatures, {count, columns}, Types::F32);
  check.on_cpu();
  check_indices("scatter_rows_backward", "rows", rows, "dx", dx.shape[0]);
  const size_t bytes = size_t(columns) * sizeof(float);
  for (int64_t n = 0; n < count; ++n) {
    float* from = dx.as<float>() + rows.as<int32_t>()[n] * columns;
    if (dfeatures) std::memcpy(dfeatures.as<float>() + n * columns, from, bytes);
    std::memset(from, 0, bytes);
  }
}

}  // namespace vlm2vec
