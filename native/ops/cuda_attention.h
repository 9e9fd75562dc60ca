// What the CUDA attention kernels of both types share: how blocks find their rows in a packed batch.
#pragma once
#include "core/cuda_device.h"
#include "core/cuda_kernel.h"

namespace vlm2vec::cuda {

constexpr int kMostHeadSize = 256;

// (T, heads, HS), rows `stride` elements apart.
template <typename T>
struct HeadRows {
  T* data;
  int64_t stride;
  bool wide;  // 16 bytes may be read at once: data, stride and head size allow it
  __device__ T* at(int64_t token, int head, int head_size) const {
    return data + token * stride + int64_t(head) * head_size;
  }
};

struct AttentionProblem {
  const int32_t* starts;  // (S + 1)
  int64_t tokens;
  int sequences, heads, kv_heads, head_size;
  float scale;
  bool causal;
};

template <typename T>
struct AttentionForward {
  HeadRows<T> out;
  float* lse;  // (NH, T)
  HeadRows<const T> q, k, v;
};

template <typename T>
struct AttentionBackward {
  HeadRows<T> dq, dk, dv;
  HeadRows<const T> dout, q, k, v;
  const float* lse;    // (NH, T)
  const float* delta;  // (NH, T): dout_i · out_i
};

// kRows consecutive rows of one sequence.
struct SequenceTile {
  int64_t begin;  // the sequence's first row in the batch
  int length;     // of the sequence
  int first;      // the tile's first row in the sequence
};

// Sequence s has the blocks starts[s] / kRows + s and up to that of s + 1: at least as many as it has tiles, and found
// by bisection without the host knowing the lengths. Of the blocks to spare this returns false.
template <int kRows>
__device__ bool find_tile(SequenceTile& tile, const AttentionProblem& p, int block) {
  int low = 0, high = p.sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (p.starts[middle] / kRows + middle <= block)
      low = middle;
    else
      high = middle;
  }
  const int begin = p.starts[low];
  tile = {begin, p.starts[low + 1] - begin, (block - begin / kRows - low) * kRows};
  return tile.first < tile.length;
}

inline dim3 attention_grid(const AttentionProblem& p, int rows, int heads) {
  return dim3(unsigned(p.tokens / rows + p.sequences), unsigned(heads));
}

__device__ inline bool attends(const AttentionProblem& p, int length, int query, int key) {
  return query < length && key < length && (!p.causal || key <= query);
}

// Keys that the `rows` queries from `first` on look at.
__device__ inline int keys_of(const AttentionProblem& p, const SequenceTile& tile, int rows) {
  return p.causal && tile.first + rows < tile.length ? tile.first + rows : tile.length;
}

void attention_forward_f32(CudaDevice& device, const AttentionForward<float>& t, const AttentionProblem& p);
void attention_backward_f32(CudaDevice& device, const AttentionBackward<float>& t, const AttentionProblem& p);
void attention_forward_bf16(CudaDevice& device, const AttentionForward<bf16>& t, const AttentionProblem& p);
void attention_backward_bf16(CudaDevice& device, const AttentionBackward<bf16>& t, const AttentionProblem& p);

}  // namespace vlm2vec::cuda
