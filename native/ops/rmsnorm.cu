// RMSNorm on CUDA: a warp a row, which reads it twice (the second time from cache); dweight by ops/cuda_column_sum.h.
#include "ops/cuda_column_sum.h"
#include "ops/rmsnorm.h"

namespace vlm2vec::cuda {

namespace {

constexpr int kRowsPerBlock = 4, kThreads = kRowsPerBlock * kWarp;

// A matrix (rows, columns) whose rows are `stride` elements apart.
template <typename T>
struct Matrix {
  T* data;
  int64_t stride;
  __device__ T* row(int64_t r) const { return data + r * stride; }
};

template <typename T>
Matrix<T> matrix(Tensor x) {
  return {x.as<T>(), x.row_stride};
}

struct RmsNormSizes {
  int64_t rows, columns;
};

// ---------------------------------------------------------------------------------------------------------------------
// Kernels

template <typename Out, typename In>
__global__ void rmsnorm_forward_kernel(Matrix<Out> out, float* rstd, Matrix<In> x, const float* weight, float eps,
                                       RmsNormSizes sizes) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = int64_t(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (row >= sizes.rows) return;
  const In* x_r = x.row(row);
  float sum = 0;
  for (int64_t c = lane; c < sizes.columns; c += kWarp) sum += to_float(x_r[c]) * to_float(x_r[c]);
  const float scale = 1.0f / sqrtf(warp_sum(sum) / float(sizes.columns) + eps);
  if (lane == 0) rstd[row] = scale;
  Out* out_r = out.row(row);
  for (int64_t c = lane; c < sizes.columns; c += kWarp) store(out_r + c, weight[c] * (to_float(x_r[c]) * scale));
}

template <typename Dout, typename In>
__global__ void rmsnorm_backward_kernel(Matrix<float> dx, Matrix<Dout> dout, Matrix<In> x, const float* weight,
                                        const float* rstd, RmsNormSizes sizes) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = int64_t(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (row >= sizes.rows) return;
  const In* x_r = x.row(row);
  const Dout* dout_r = dout.row(row);
  float sum = 0;
  for (int64_t c = lane; c < sizes.columns; c += kWarp) sum += to_float(dout_r[c]) * weight[c] * to_float(x_r[c]);
  // forward: out = weight * (x * rstd), so that dx = rstd * (g - x * rstd^2 * mean(g * x))
  const float scale = rstd[row], along = scale * scale * (warp_sum(sum) / float(sizes.columns));
  float* dx_r = dx.row(row);
  for (int64_t c = lane; c < sizes.columns; c += kWarp)
    dx_r[c] += scale * (to_float(dout_r[c]) * weight[c] - to_float(x_r[c]) * along);
}

// dweight's terms
template <typename Dout, typename In>
struct ScaledProduct {
  Matrix<Dout> dout;
  Matrix<In> x;
  const float* rstd;
  __device__ double operator()(int64_t row, int64_t column) const {
    return double(to_float(dout.row(row)[column])) * double(to_float(x.row(row)[column]) * rstd[row]);
  }
};

dim3 blocks(int64_t rows) { return dim3(unsigned(divide_up(rows, kRowsPerBlock))); }

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// Launchers

void rmsnorm_forward(Tensor out, Tensor rstd, Tensor x, Tensor weight, float eps) {
  const RmsNormSizes sizes = {x.shape[0], x.shape[1]};
  with_type(out.dtype, [&](auto out_zero) {
    with_type(x.dtype, [&](auto x_zero) {
      using Out = decltype(out_zero);
      using In = decltype(x_zero);
      cuda_device(x).launch(rmsnorm_forward_kernel<Out, In>, blocks(sizes.rows), kThreads, 0, matrix<Out>(out),
                            rstd.as<float>(), matrix<In>(x), weight.as<float>(), eps, sizes);
    });
  });
}

void rmsnorm_backward(Tensor dx, Tensor dweight, Tensor dout, Tensor x, Tensor weight, Tensor rstd) {
  const RmsNormSizes sizes = {x.shape[0], x.shape[1]};
  CudaDevice& device = cuda_device(x);
  with_type(dout.dtype, [&](auto dout_zero) {
    with_type(x.dtype, [&](auto x_zero) {
      using Dout = decltype(dout_zero);
      using In = decltype(x_zero);
      device.launch(rmsnorm_backward_kernel<Dout, In>, blocks(sizes.rows), kThreads, 0, matrix<float>(dx),
                    matrix<Dout>(dout), matrix<In>(x), weight.as<float>(), rstd.as<float>(), sizes);
      if (dweight)
        column_sum(device, dweight.as<float>(),
                   ScaledProduct<Dout, In>{matrix<Dout>(dout), matrix<In>(x), rstd.as<float>()}, sizes.rows,
                   sizes.columns);
    });
  });
}

}  // namespace vlm2vec::cuda
