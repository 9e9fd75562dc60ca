// CPU kernels of attention. f32 is multiplied as f32; bf16 by bf16 products where the machine has them, and elsewhere
// widened while packing. Sums and softmax are f32. The query heads of a group are stacked as
// rows (row = token * group + head), so that one packed copy of keys and values serves them all.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

// One sequence and one key-value head. Pairs do not share anything but read-only inputs.
struct AttentionPair {
  int64_t start, length, head;
  float* packed;  // forward: keys and values, made by `pack`
};

// Forward: kQueryRows rows of a pair.
struct AttentionBlock {
  int32_t pair, block;
};

// Backward: keys [key, key + keys) of a pair. Long sequences have several parts, for more threads than pairs; their
// number depends on the length only. dq: this part's share, (length * group, HS), or null where the pair has one part.
struct AttentionPart {
  int64_t pair, key, keys;
  float* dq;
};

struct AttentionRows {
  const void* data;
  int64_t stride;  // elements from one token to the next
};

struct AttentionProblem {
  AttentionRows q, k, v, out, dout;
  AttentionRows dq, dk, dv;  // written, though const here
  float* lse;                // (NH, T)
  int64_t T, group, HS;      // group: NH / NKV
  float scale;
  bool causal;
  DType type;
  int threads;
  const AttentionPair* pairs;
  const AttentionBlock* blocks;
  const AttentionPart* parts;  // those of a pair follow each other
  int64_t pair_count, block_count, part_count;
  float* scratch;  // threads * scratch_floats
};

constexpr int64_t kAttentionQueryRows = 96;

struct AttentionForwardKernels {
  int64_t (*packed_floats)(int64_t length, int64_t HS);
  int64_t (*scratch_floats)(int64_t HS);  // of a thread
  void (*pack)(const AttentionProblem& problem);
  void (*forward)(const AttentionProblem& problem);
  // Every pair by one thread, from packing on, so that what is packed stays in its cache: behind its scratch, which
  // with that is `thread_floats` long. Null where packing is little of the work.
  void (*forward_pairs)(const AttentionProblem& problem, int64_t thread_floats);
};

struct AttentionBackwardKernels {
  int64_t (*scratch_floats)(int64_t keys, int64_t HS);  // of a thread, for the longest part
  void (*backward)(const AttentionProblem& problem);
};

VLM2VEC_DECLARE_KERNELS(AttentionForwardKernels, attention_forward_kernels)
VLM2VEC_DECLARE_KERNELS(AttentionBackwardKernels, attention_backward_kernels)
#if defined(VLM2VEC_X86)
// Of bf16, by AMX's tiles.
namespace avx512 {
extern const AttentionForwardKernels attention_amx_forward_kernels;
extern const AttentionBackwardKernels attention_amx_backward_kernels;
}  // namespace avx512
#endif

}  // namespace vlm2vec
