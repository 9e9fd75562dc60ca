// Once a batch, and memory is the limit: plain loops.
#include "ops/weighted_rows.h"

#include "core/parallel.h"
#include "ops/op_check.h"

namespace vlm2vec {

namespace {

constexpr int64_t kGrain = 8;  // rows

void check_arguments(const char* op, const char* name, Tensor table, Types types, Tensor x, Tensor index,
                     Tensor weight) {
  const OpCheck check(op, name, table);
  check.main(2, types);
  const int64_t rows = index.shape[0], terms = index.shape[1];
  check.fits("index", index, {rows, terms}, Types::I32);
  check.fits("weight", weight, {rows, terms}, Types::F32);
  check.fits("x", x, {rows, table.shape[1]}, Types::F32);
  check.on_cpu();
  const int32_t* at = index.as<int32_t>();
  for (int64_t i = 0; i < index.size(); ++i)
    require(at[i] >= 0 && at[i] < table.shape[0], "E_BATCH", op, ": index[", i / terms, ", ", i % terms, "] = ", at[i],
            " is outside of ", name, " (", table.shape[0], " rows)");
}

template <typename T>
void add_rows(Tensor x, const T* table, const int32_t* index, const float* weight, int64_t terms) {
  const int64_t columns = x.shape[1];
  parallel_blocks(x.device->threads(), x.rows(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      float* to = x.as<float>() + m * columns;
      for (int64_t c = 0; c < columns; ++c) {
        float sum = 0;
        for (int64_t k = 0; k < terms; ++k)
          sum += weight[m * terms + k] * to_float(table[index[m * terms + k] * columns + c]);
        to[c] += sum;
      }
    }
  });
}

}  // namespace

void weighted_rows_forward(Tensor x, Tensor table, Tensor index, Tensor weight) {
  check_arguments("weighted_rows_forward", "table", table, Types::Float, x, index, weight);
  const int64_t terms = index.shape[1];
  if (table.dtype == DType::F32) {
    add_rows(x, table.as<float>(), index.as<int32_t>(), weight.as<float>(), terms);
  } else {
    add_rows(x, table.as<bf16>(), index.as<int32_t>(), weight.as<float>(), terms);
  }
}

void weighted_rows_backward(Tensor dtable, Tensor dx, Tensor index, Tensor weight) {
  check_arguments("weighted_rows_backward", "dtable", dtable, Types::F32, dx, index, weight);
  const int64_t terms = index.shape[1], columns = dtable.shape[1];
  // threads share out the columns: a row of the table is added to in order of m
  parallel_blocks(dtable.device->threads(), columns, 64, [&](int64_t begin, int64_t end) {
    for (int64_t m = 0; m < dx.rows(); ++m)
      for (int64_t k = 0; k < terms; ++k) {
        float* to = dtable.as<float>() + index.as<int32_t>()[m * terms + k] * columns;
        const float* from = dx.as<float>() + m * columns;
        const float w = weight.as<float>()[m * terms + k];
        for (int64_t c = begin; c < end; ++c) to[c] += w * from[c];
      }
  });
}

}  // namespace vlm2vec
