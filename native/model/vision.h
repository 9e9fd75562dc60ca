// The vision tower of Qwen2-VL: patches -> image features (models: Qwen2VisionTransformerPretrainedModel). A block is
//   h += proj(attention(rope(q), rope(k), v)),  [q; k; v] = qkv(layernorm(h));   h += fc2(act(fc1(layernorm(h))))
// with 2-D RoPE and full attention within each temporal slice of a picture. The merger joins merge x merge neighbouring
// patches into one token: mlp.2(gelu(mlp.0(layernorm(h) seen as (P / 4, 4 E)))).
#pragma once
#include "model/linear.h"
#include "model/stack.h"

namespace vlm2vec {

struct VisionInputs {
  Tensor cos, sin;  // (P, HS/2) f32
  Tensor starts;    // (slices + 1) i32
};

class VisionBlock {
 public:
  struct Saved {
    Tensor mean1, rstd1, x1;  // (P), (P), (P, E)
    Tensor qkv, out, lse;     // (P, 3 E), q and k rotated; (P, E), (NH, P)
    Tensor h_mid;             // (P, E) f32
    Tensor mean2, rstd2, x2;
    Tensor hidden, activated;  // (P, F)
    Linear::Saved qkv_linear, proj, fc1, fc2;
  };

  VisionBlock(Weights& weights, const VisionConfig& config, int64_t index);
  void forward(const Context& context, const VisionInputs& inputs, Tensor h, Saved* saved) const;
  void backward(const Context& context, const VisionInputs& inputs, Tensor dh, Tensor h_in, const Saved& saved) const;
  size_t saved_bytes(int64_t patches, DType compute) const;
  template <typename F>
  void each_linear(const F& f) {
    for (Linear* linear : {&qkv_, &proj_, &fc1_, &fc2_}) f(*linear);
  }

 private:
  void attention(const Context& context, const VisionInputs& inputs, Tensor h, Saved& saved, bool keep) const;
  void mlp(const Context& context, Tensor h, Saved& saved, bool keep) const;
  Tensor part(Tensor qkv, int index) const {  // 0 q, 1 k, 2 v: (P, NH, HS), strided
    return qkv.heads(index * config_.embed_dim, config_.heads, config_.embed_dim / config_.heads);
  }
  Tensor heads(Tensor x) const { return x.reshape({x.rows(), config_.heads, config_.embed_dim / config_.heads}); }

  VisionConfig config_;
  Parameter *norm1_, *norm1_bias_, *norm2_, *norm2_bias_;
  Linear qkv_, proj_, fc1_, fc2_;
};

class VisionTower {
 public:
  struct Saved {
    Tensor patches;  // (P, PD) of the compute type
    Linear::Saved patch_embed, fc1, fc2;
    Stack<VisionBlock>::Saved blocks;
    Tensor h, mean, rstd, hidden;  // (P, E) output of the last block; ln_q's statistics; (P / 4, 4 E) before GELU
  };

  VisionTower(Weights& weights, const VisionConfig& config);
  // features (N, C) f32; patches (P, PD) f32; saved null: nothing is kept.
  void forward(const Context& context, const VisionInputs& inputs, Tensor features, Tensor patches, Saved* saved,
               size_t memory) const;
  void backward(const Context& context, const VisionInputs& inputs, Tensor dfeatures, Saved& saved) const;
  // Whether anything in the tower or the merger is trained.
  bool trains();
  template <typename F>
  void each_linear(const F& f) {
    f(patch_embed_);
    for (auto& block : stack_.blocks) block.each_linear(f);
    f(fc1_);
    f(fc2_);
  }

 private:
  VisionConfig config_;
  Linear patch_embed_;
  Stack<VisionBlock> stack_;
  Parameter *norm_, *norm_bias_;
  Linear fc1_, fc2_;
};

// Row and column of every patch, and the bounds of every temporal slice, of pictures with these grids (I x (t, h, w)).
// positions: 2 x P, rows then columns, in the order of the patches (merge blocks first).
void vision_layout(const VisionConfig& config, const int32_t* grids, int64_t images, std::vector<int32_t>& positions,
                   std::vector<int32_t>& starts);
// cos and sin of 2-D RoPE for positions (2, P).
void vision_rope(const VisionConfig& config, Tensor cos, Tensor sin, Tensor positions, Arena& scratch);

}  // namespace vlm2vec
