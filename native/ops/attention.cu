// Attention on CUDA: FlashAttention-2's tiling (Dao 2023) with the backward pass in two kernels, one for dk and dv and
// one for dq, each of which owns what it writes. f32 by FFMA (attention_f32.cu), bf16 on tensor cores
// (attention_bf16.cu).
#include "ops/attention.h"
#include "ops/cuda_attention.h"
#include "ops/workspace.h"

namespace vlm2vec::cuda {

namespace {

template <typename T>
HeadRows<T> head_rows(Tensor x) {
  const bool wide = x.shape[2] % 8 == 0 && x.row_stride % 8 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  return {x.as<T>(), x.row_stride, wide};
}

AttentionProblem problem(Tensor q, Tensor k, Tensor starts, AttentionSizes sizes) {
  require(q.shape[2] <= kMostHeadSize, "E_SHAPE", "attention: a head size of ", q.shape[2],
          " is more than the CUDA kernels take (", kMostHeadSize, "); use --device cpu");
  return {starts.as<int32_t>(), q.shape[0],      int(starts.shape[0]) - 1,
          int(q.shape[1]),      int(k.shape[1]), int(q.shape[2]),
          sizes.scale,          sizes.causal};
}

constexpr int kDeltaRows = 4;

// delta_i = dout_i · out_i: a warp a row and head
template <typename T>
__global__ void attention_delta_kernel(float* delta, HeadRows<const T> dout, HeadRows<const T> out,
                                       AttentionProblem p) {
  const int64_t token = int64_t(blockIdx.x) * kDeltaRows + threadIdx.x / kWarp;
  const int head = blockIdx.y;
  if (token >= p.tokens) return;
  const T* dout_th = dout.at(token, head, p.head_size);
  const T* out_th = out.at(token, head, p.head_size);
  float sum = 0;
  for (int i = threadIdx.x % kWarp; i < p.head_size; i += kWarp) sum += to_float(dout_th[i]) * to_float(out_th[i]);
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) delta[head * p.tokens + token] = sum;
}

void run(CudaDevice& device, const AttentionForward<float>& t, const AttentionProblem& p) {
  attention_forward_f32(device, t, p);
}
void run(CudaDevice& device, const AttentionForward<bf16>& t, const AttentionProblem& p) {
  attention_forward_bf16(device, t, p);
}
void run(CudaDevice& device, const AttentionBackward<float>& t, const AttentionProblem& p) {
  attention_backward_f32(device, t, p);
}
void run(CudaDevice& device, const AttentionBackward<bf16>& t, const AttentionProblem& p) {
  attention_backward_bf16(device, t, p);
}

}  // namespace

void attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, AttentionSizes sizes) {
  const AttentionProblem p = problem(q, k, starts, sizes);
  with_type(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    run(cuda_device(q),
        AttentionForward<T>{head_rows<T>(out), lse.as<float>(), head_rows<const T>(q), head_rows<const T>(k),
                            head_rows<const T>(v)},
        p);
  });
}

void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out,
                        Tensor lse, Tensor starts, AttentionSizes sizes) {
  const AttentionProblem p = problem(q, k, starts, sizes);
  CudaDevice& device = cuda_device(q);
  auto* delta = static_cast<float*>(device.state<Workspace>().reserve(size_t(p.heads * p.tokens) * sizeof(float)));
  with_type(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    device.launch(attention_delta_kernel<T>, dim3(unsigned(divide_up(p.tokens, kDeltaRows)), unsigned(p.heads)),
                  kDeltaRows * kWarp, 0, delta, head_rows<const T>(dout), head_rows<const T>(out), p);
    run(device,
        AttentionBackward<T>{head_rows<T>(dq), head_rows<T>(dk), head_rows<T>(dv), head_rows<const T>(dout),
                             head_rows<const T>(q), head_rows<const T>(k), head_rows<const T>(v), lse.as<float>(),
                             delta},
        p);
  });
}

}  // namespace vlm2vec::cuda
