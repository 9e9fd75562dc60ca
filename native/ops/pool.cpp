#include "ops/pool.h"

#include <cstring>

#include "ops/op_check.h"

namespace vlm2vec {

namespace {

// starts (B + 1) i32 rises from 0 to T, so that every sequence has a last token.
void check_starts(const char* op, Tensor pooled, Tensor tokens, Tensor starts) {
  const int64_t sequences = pooled.shape[0], count = tokens.shape[0];
  const int32_t* at = starts.as<int32_t>();
  require(at[0] == 0 && at[sequences] == count, "E_BATCH", op, ": starts runs from ", at[0], " to ", at[sequences],
          ", expected 0 to ", count);
  for (int64_t b = 0; b < sequences; ++b)
    require(at[b] < at[b + 1], "E_BATCH", op, ": sequence ", b, " is empty: it begins at token ", at[b],
            " and ends at ", at[b + 1]);
}

}  // namespace

void pool_last_forward(Tensor out, Tensor x, Tensor starts) {
  const OpCheck check("pool_last_forward", "x", x);
  check.main(2, Types::F32);
  const int64_t sequences = out.shape[0], columns = x.shape[1];
  check.fits("out", out, {sequences, columns}, Types::F32);
  check.fits("starts", starts, {sequences + 1}, Types::I32);
  check.on_cpu();
  check_starts("pool_last_forward", out, x, starts);
  for (int64_t b = 0; b < sequences; ++b)
    std::memcpy(out.as<float>() + b * columns, x.as<float>() + (starts.as<int32_t>()[b + 1] - 1) * columns,
                size_t(columns) * sizeof(float));
}

void pool_last_backward(Tensor dx, Tensor dout, Tensor starts) {
  const OpCheck check("pool_last_backward", "dout", dout);
  check.main(2, Types::F32);
  const int64_t sequences = dout.shape[0], columns = dout.shape[1];
  check.fits("dx", dx, {dx.shape[0], columns}, Types::F32);
  check.fits("starts", starts, {sequences + 1}, Types::I32);
  check.on_cpu();
  check_starts("pool_last_backward", dout, dx, starts);
  zero(dx);
  for (int64_t b = 0; b < sequences; ++b)
    std::memcpy(dx.as<float>() + (starts.as<int32_t>()[b + 1] - 1) * columns, dout.as<float>() + b * columns,
                size_t(columns) * sizeof(float));
}

}  // namespace vlm2vec
