// out[c] += sum over rows of term(row, c), in f64 and in an order that depends on the sizes only: blocks of 32 columns
// by slabs of rows write partial sums, which a second kernel adds up slab by slab. No atomics.
#pragma once
#include <algorithm>

#include "core/cuda_device.h"
#include "core/cuda_kernel.h"
#include "ops/workspace.h"

namespace vlm2vec::cuda {

constexpr int kColumnSumRows = 8;   // rows of a block of threads
constexpr int64_t kMostSlabs = 64;  // bounds the workspace to 64 f64 a column
constexpr int64_t kLeastSlabRows = 64;

// partial (slabs, columns)
template <typename Term>
__global__ void column_sum_kernel(double* partial, Term term, int64_t rows, int64_t columns, int64_t slab_rows) {
  double* sums = reinterpret_cast<double*>(dynamic_shared());  // (kColumnSumRows, 32)
  const int lane = threadIdx.x % kWarp, r = threadIdx.x / kWarp;
  const int64_t column = int64_t(blockIdx.x) * kWarp + lane, slab = blockIdx.y;
  const int64_t end = (slab + 1) * slab_rows < rows ? (slab + 1) * slab_rows : rows;
  double sum = 0;
  if (column < columns)
    for (int64_t row = slab * slab_rows + r; row < end; row += kColumnSumRows) sum += term(row, column);
  sums[r * kWarp + lane] = sum;
  __syncthreads();
  if (r > 0 || column >= columns) return;
  for (int i = 1; i < kColumnSumRows; ++i) sum += sums[i * kWarp + lane];
  partial[slab * columns + column] = sum;
}

static __global__ void column_sum_finish_kernel(float* out, const double* partial, int64_t slabs, int64_t columns) {
  const int64_t column = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  double sum = 0;
  for (int64_t slab = 0; slab < slabs; ++slab) sum += partial[slab * columns + column];
  out[column] += float(sum);
}

// term: a functor with `__device__ double operator()(int64_t row, int64_t column) const`.
template <typename Term>
void column_sum(CudaDevice& device, float* out, Term term, int64_t rows, int64_t columns) {
  if (rows == 0 || columns == 0) return;
  const int64_t slab_rows = std::max(kLeastSlabRows, divide_up(rows, kMostSlabs)), slabs = divide_up(rows, slab_rows);
  auto* partial = static_cast<double*>(device.state<Workspace>().reserve(size_t(slabs * columns) * sizeof(double)));
  constexpr int kThreads = kColumnSumRows * kWarp;
  device.launch(column_sum_kernel<Term>, dim3(unsigned(divide_up(columns, kWarp)), unsigned(slabs)), kThreads,
                kThreads * sizeof(double), partial, term, rows, columns, slab_rows);
  device.launch(column_sum_finish_kernel, dim3(unsigned(divide_up(columns, kThreads))), kThreads, 0, out, partial,
                slabs, columns);
}

}  // namespace vlm2vec::cuda
