#include "model/block.h"

#include <cmath>

#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/rope.h"

namespace vlm2vec {

Tensor narrowed(const Context& context, Tensor x) {
  if (context.compute == x.dtype) return x;
  Tensor result = context.scratch.allocate(context.compute, {x.rows(), x.shape[1]});
  cast(result, x);
  return result;
}

Block::Block(Weights& weights, const BlockSpec& spec)
    : spec_(spec),
      norm1_(weights, spec.norm1, spec.eps),
      norm2_(weights, spec.norm2, spec.eps),
      qkv_(weights, spec.qkv) {
  if (head_norms()) {
    q_norm_ = Norm(weights, spec.q_norm, spec.eps);
    k_norm_ = Norm(weights, spec.k_norm, spec.eps);
  }
  out_ = Linear(weights, spec.out);
  mlp_ = Mlp(weights, spec.mlp);
}

size_t Block::saved_bytes(int64_t rows, DType compute) const {
  return block_bytes(spec_, mlp_.hidden_size(), 1, rows, compute).kept;
}

Block::Heads Block::allocate_heads(const Context& context, int64_t rows) const {
  Arena& arena = context.scratch;
  const int64_t q = spec_.heads, kv = spec_.kv_heads, size = spec_.head_size;
  Heads heads;
  if (!fused()) {
    heads.q = arena.allocate(context.compute, {rows, q, size});
    heads.k = arena.allocate(context.compute, {rows, kv, size});
    heads.v = arena.allocate(context.compute, {rows, kv, size});
    return heads;
  }
  heads.whole = arena.allocate(context.compute, {rows, (q + 2 * kv) * size});
  heads.q = heads.whole.heads(0, q, size);
  heads.k = heads.whole.heads(q * size, kv, size);
  heads.v = heads.whole.heads((q + kv) * size, kv, size);
  return heads;
}

namespace {

std::vector<Tensor> matrices(const Block::Heads& heads) {
  if (heads.whole) return {heads.whole};
  return {as_matrix(heads.q), as_matrix(heads.k), as_matrix(heads.v)};
}

}  // namespace

void Block::forward(const Context& context, const BlockInputs& inputs, Tensor h, Saved* saved) const {
  Saved discarded;
  Saved& s = saved ? *saved : discarded;
  attention(context, inputs, h, s, saved);
  if (saved) {
    s.h_mid = context.scratch.allocate(DType::F32, {h.rows(), h.shape[1]});
    copy(s.h_mid, h);
  }
  s.x2 = context.scratch.allocate(context.compute, {h.rows(), spec_.width});
  norm2_.forward(context, s.x2, h, s.norm2);
  mlp_.forward(context, h, s.x2, true, s.mlp, saved);
}

void Block::normalise_heads(const Context& context, const Norm& norm, Tensor& x, Tensor& raw, Norm::Saved& saved,
                            bool keep) const {
  raw = x;
  if (keep) x = context.scratch.allocate(context.compute, {raw.rows(), raw.shape[1], raw.shape[2]});
  norm.forward(context, per_head(x), per_head(raw), saved);
}

void Block::norm_backward_heads(const Context& context, const Norm& norm, Tensor dx, Tensor raw,
                                const Norm::Saved& saved) const {
  Tensor wide = context.scratch.allocate_zero(DType::F32, {raw.rows(), raw.shape[1], raw.shape[2]});
  norm.backward(per_head(wide), per_head(dx), per_head(raw), saved);
  cast(dx, wide);
}

void Block::attention(const Context& context, const BlockInputs& inputs, Tensor h, Saved& s, bool keep) const {
  Arena& arena = context.scratch;
  const int64_t rows = h.rows();
  s.x1 = arena.allocate(context.compute, {rows, spec_.width});
  s.heads = allocate_heads(context, rows);
  s.out = arena.allocate(context.compute, {rows, spec_.heads * spec_.head_size});
  s.lse = arena.allocate(DType::F32, {spec_.heads, rows});

  norm1_.forward(context, s.x1, h, s.norm1);
  qkv_.forward(context, matrices(s.heads), s.x1, keep ? s.linears : nullptr);
  if (head_norms()) {
    normalise_heads(context, q_norm_, s.heads.q, s.q_raw, s.q_norm, keep);
    normalise_heads(context, k_norm_, s.heads.k, s.k_raw, s.k_norm, keep);
  }
  if (inputs.cos) {
    rope_apply(s.heads.q, inputs.cos, inputs.sin, false);
    rope_apply(s.heads.k, inputs.cos, inputs.sin, false);
  }
  const AttentionSizes sizes{1 / std::sqrt(float(spec_.head_size)), spec_.causal};
  attention_forward(s.out.reshape({rows, spec_.heads, spec_.head_size}), s.lse, s.heads.q, s.heads.k, s.heads.v,
                    starts(inputs), sizes);
  out_.forward(context, h, s.out, true, keep ? &s.linears[3] : nullptr);
}

void Block::backward(const Context& context, const BlockInputs& inputs, Tensor dh, Tensor h_in, const Saved& s) const {
  Arena& arena = context.scratch;
  {  // h += mlp(norm2(h))
    ArenaScope scope(arena);
    Tensor dx2 = arena.allocate(DType::F32, {dh.rows(), spec_.width});
    mlp_.backward(context, dx2, narrowed(context, dh), s.mlp);
    norm2_.backward(dh, dx2, s.h_mid, s.norm2);
  }
  ArenaScope scope(arena);  // h += out(attention(...))
  Tensor dx1 = arena.allocate(DType::F32, {dh.rows(), spec_.width});
  attention_backward(context, inputs, dx1, dh, s);
  norm1_.backward(dh, dx1, h_in, s.norm1);
}

void Block::attention_backward(const Context& context, const BlockInputs& inputs, Tensor dx1, Tensor dh,
                               const Saved& s) const {
  Arena& arena = context.scratch;
  const int64_t rows = dh.rows();
  Tensor dout = arena.allocate(context.compute, {rows, spec_.heads * spec_.head_size});
  Heads d = allocate_heads(context, rows);
  out_.backward(context, dout, narrowed(context, dh), s.linears[3], false);
  const auto by_head = [&](Tensor x) { return x.reshape({rows, spec_.heads, spec_.head_size}); };
  const AttentionSizes sizes{1 / std::sqrt(float(spec_.head_size)), spec_.causal};
  vlm2vec::attention_backward(d.q, d.k, d.v, by_head(dout), s.heads.q, s.heads.k, s.heads.v, by_head(s.out), s.lse,
                              starts(inputs), sizes);
  if (inputs.cos) {
    rope_apply(d.q, inputs.cos, inputs.sin, true);
    rope_apply(d.k, inputs.cos, inputs.sin, true);
  }
  if (head_norms()) {
    norm_backward_heads(context, q_norm_, d.q, s.q_raw, s.q_norm);
    norm_backward_heads(context, k_norm_, d.k, s.k_raw, s.k_norm);
  }
  qkv_.backward(context, dx1, matrices(d), s.linears);
}

PassBytes block_bytes(const BlockSpec& spec, int64_t mlp_width, int64_t blocks, int64_t rows, DType compute) {
  // as the functions above allocate
  const size_t width = size_of(compute), m = size_t(rows), c = size_t(spec.width), f = size_t(mlp_width);
  const size_t q = size_t(spec.heads * spec.head_size), kv = size_t(spec.kv_heads * spec.head_size);
  const size_t head_norms = spec.q_norm.empty() ? 0 : q + kv;
  const size_t hidden = (spec.mlp.gated ? 3 : 2) * f;
  PassBytes bytes;
  bytes.block = m * (4 * (c + 4 + size_t(spec.heads)) + width * (2 * c + 2 * q + 2 * kv + head_norms + hidden));
  bytes.kept = size_t(blocks) * bytes.block;
  bytes.fixed = m * 4 * (size_t(blocks) * c + size_t(spec.head_size));
  bytes.backward = m * (4 * c + width * c + std::max(width * hidden, width * (2 * q + 2 * kv) + 4 * head_norms));
  return bytes;
}

}  // namespace vlm2vec
