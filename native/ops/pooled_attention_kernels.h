// CPU kernels of pooled attention. A pair is one sequence and one key-value head: it owns its rows of dk and dv and its
// group's rows of everything else.
#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

struct PooledRows {
  void* data;
  int64_t stride;  // elements from one row to the next
};

struct PooledAttention {
  PooledRows q, k, v, out, dout, dq, dk, dv;
  float* lse;             // (NH, B)
  const int32_t* starts;  // (B + 1)
  int64_t B, NKV, group, HS;
  float scale;
  DType type;
  int threads;
  float* scratch;   // B * NKV * group * longest
  int64_t longest;  // tokens of a sequence
};

struct PooledAttentionKernels {
  void (*forward)(const PooledAttention&);
  void (*backward)(const PooledAttention&);
};

VLM2VEC_DECLARE_KERNELS(PooledAttentionKernels, pooled_attention_kernels)

}  // namespace vlm2vec
