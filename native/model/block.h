// A pre-norm transformer block, forward and backward: every text layer and every vision block is one of these.
//   h += out(attention(rope(q), rope(k), v)),  q, k, v linear in n1 = norm1(h), q and k normalised per head if asked
//   for h += mlp(norm2(h))
// The residual stream h is f32 in every mode; products read and write the compute type.
#pragma once
#include "model/mlp.h"
#include "model/norm.h"
#include "model/stack.h"

namespace vlm2vec {

struct BlockSpec {
  int64_t width, heads, kv_heads, head_size;  // C, NH, NKV, HS
  float eps;
  bool causal;
  bool local = false;  // attends within BlockInputs::local_starts
  // Modules.
  std::string norm1{}, norm2{}, out{};
  std::vector<std::string> qkv{};  // {q, k, v}, or one whose rows are q, k, v
  std::string q_norm{}, k_norm{};  // empty: none
  MlpSpec mlp{};
};

// Rotary tables and bounds of the sequences of one batch.
struct BlockInputs {
  Tensor cos, sin;      // (M, HS/2) f32, or absent: positions are learned
  Tensor starts;        // (sequences + 1) i32
  Tensor local_starts;  // (windows + 1) i32, where a block is local
};

class Block {
 public:
  // Queries, keys and values (M, heads, HS); rows are strided where one product makes all three.
  struct Heads {
    Tensor whole;  // (M, (NH + 2 NKV) HS) in that case
    Tensor q, k, v;
  };
  struct Saved {
    Norm::Saved norm1, q_norm, k_norm, norm2;
    Tensor x1, x2;        // (M, C) normalised
    Heads heads;          // as attention sees them: normalised, turned
    Tensor q_raw, k_raw;  // (M, heads, HS) before the norm of each head
    Tensor out, lse;      // (M, NH HS), (NH, M)
    Tensor h_mid;         // (M, C) f32 between the halves
    Linear::Saved linears[4];
    Mlp::Saved mlp;
  };

  Block(Weights& weights, const BlockSpec& spec);
  // h (M, C) f32, in place.
  void forward(const Context& context, const BlockInputs& inputs, Tensor h, Saved* saved) const;
  // dh (M, C) f32: gradient of the output, becomes that of the input h_in.
  void backward(const Context& context, const BlockInputs& inputs, Tensor dh, Tensor h_in, const Saved& saved) const;
  // The same where only the last token of each sequence is wanted (pooled_block.cpp): keys and values of all tokens,
  // everything else for these rows. out (B, C) f32; h (M, C) stays as it is. Full attention within `starts`.
  void forward_pooled(const Context& context, const BlockInputs& inputs, Tensor out, Tensor h, Saved& saved,
                      bool keep) const;
  // dh (M, C) f32 is overwritten; dout (B, C) f32 is used up. `saved`: queries, out, lse and what follows have B rows.
  void backward_pooled(const Context& context, const BlockInputs& inputs, Tensor dh, Tensor dout, Tensor h_in,
                       const Saved& saved) const;
  size_t saved_bytes(int64_t rows, DType compute) const;
  template <typename F>
  void each_linear(const F& f) {
    qkv_.each_linear(f);
    f(out_);
    mlp_.each_linear(f);
  }

 private:
  bool fused() const { return qkv_.size() == 1; }
  bool head_norms() const { return !spec_.q_norm.empty(); }
  Heads allocate_heads(const Context& context, int64_t rows) const;
  void attention(const Context& context, const BlockInputs& inputs, Tensor h, Saved& saved, bool keep) const;
  void attention_backward(const Context& context, const BlockInputs& inputs, Tensor dx1, Tensor dh,
                          const Saved& saved) const;
  void norm_backward_heads(const Context& context, const Norm& norm, Tensor dx, Tensor raw,
                           const Norm::Saved& saved) const;
  void normalise_heads(const Context& context, const Norm& norm, Tensor& x, Tensor& raw, Norm::Saved& saved,
                       bool keep) const;
  Tensor starts(const BlockInputs& inputs) const { return spec_.local ? inputs.local_starts : inputs.starts; }

  BlockSpec spec_;
  Norm norm1_, norm2_, q_norm_, k_norm_;
  LinearGroup qkv_;
  Linear out_;
  Mlp mlp_;
};

// Bytes that a pass over a stack of blocks takes.
struct PassBytes {
  size_t fixed = 0;     // rotary tables, inputs of blocks, what is before and after them
  size_t kept = 0;      // saved by all blocks for backward
  size_t block = 0;     // saved by one of them
  size_t backward = 0;  // largest temporaries of a block's backward
};
PassBytes block_bytes(const BlockSpec& spec, int64_t mlp_width, int64_t blocks, int64_t rows, DType compute);

// Seen as the matrix that a product reads or writes: (M, heads HS); and as a row for each head: (M heads, HS).
inline Tensor as_matrix(Tensor heads) { return heads.reshape({heads.rows(), heads.shape[1] * heads.shape[2]}); }
inline Tensor per_head(Tensor heads) { return heads.reshape({heads.rows() * heads.shape[1], heads.shape[2]}); }

// x in the compute type: itself where that is its type.
Tensor narrowed(const Context& context, Tensor x);

}  // namespace vlm2vec
