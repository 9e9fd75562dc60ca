// The last block of a model whose embedding is the last token of each sequence: rows that nothing reads are left out.
#include <cmath>
#include <cstring>

#include "model/block.h"
#include "ops/pool.h"
#include "ops/pooled_attention.h"
#include "ops/rope.h"

namespace vlm2vec {

namespace {

char* row_of(Tensor x, int64_t row) {
  return static_cast<char*>(x.data) + size_t(row * x.row_stride) * size_of(x.dtype);
}

// f(sequence, its last row)
template <typename F>
void each_last(Tensor starts, const F& f) {
  const int32_t* at = starts.as<int32_t>();
  for (int64_t b = 0; b + 1 < starts.rows(); ++b) f(b, int64_t(at[b + 1]) - 1);
}

// Last rows of x (M, ...), dense.
Tensor last_rows(const Context& context, Tensor x, Tensor starts) {
  Tensor result = context.scratch.allocate(x.dtype, {starts.rows() - 1, x.row_size()});
  const size_t bytes = size_t(x.row_size()) * size_of(x.dtype);
  each_last(starts, [&](int64_t b, int64_t row) { std::memcpy(row_of(result, b), row_of(x, row), bytes); });
  return result;
}

// Places these rows have in their batch (dropout).
Context pooled_context(const Context& context, Tensor starts) {
  Context result = context;
  if (context.dropout > 0) result.row_ids = last_rows(context, context.row_ids, starts).reshape({starts.rows() - 1});
  return result;
}

}  // namespace

void Block::forward_pooled(const Context& context, const BlockInputs& inputs, Tensor out, Tensor h, Saved& s,
                           bool keep) const {
  Arena& arena = context.scratch;
  const int64_t rows = h.rows(), sequences = out.rows();
  const Tensor starts = inputs.starts;
  const Context pooled = pooled_context(context, starts);
  const auto by_head = [&](Tensor x) { return x.reshape({x.rows(), spec_.heads, spec_.head_size}); };
  const auto saved = [&](int index) { return keep ? &s.linears[index] : nullptr; };
  s.x1 = arena.allocate(context.compute, {rows, spec_.width});
  norm1_.forward(context, s.x1, h, s.norm1);
  if (fused()) {
    s.heads = allocate_heads(context, rows);
    qkv_[0].forward(context, s.heads.whole, s.x1, false, saved(0));
    s.heads.q = by_head(last_rows(context, s.heads.q, starts));
  } else {
    s.heads.q = arena.allocate(context.compute, {sequences, spec_.heads, spec_.head_size});
    s.heads.k = arena.allocate(context.compute, {rows, spec_.kv_heads, spec_.head_size});
    s.heads.v = arena.allocate(context.compute, {rows, spec_.kv_heads, spec_.head_size});
    qkv_[0].forward(pooled, as_matrix(s.heads.q), last_rows(context, s.x1, starts), false, saved(0));
    qkv_[1].forward(context, as_matrix(s.heads.k), s.x1, false, saved(1));
    qkv_[2].forward(context, as_matrix(s.heads.v), s.x1, false, saved(2));
  }
  if (head_norms()) {
    normalise_heads(context, q_norm_, s.heads.q, s.q_raw, s.q_norm, keep);
    normalise_heads(context, k_norm_, s.heads.k, s.k_raw, s.k_norm, keep);
  }
  if (inputs.cos) {
    rope_apply(s.heads.q, last_rows(context, inputs.cos, starts), last_rows(context, inputs.sin, starts), false);
    rope_apply(s.heads.k, inputs.cos, inputs.sin, false);
  }
  s.out = arena.allocate(context.compute, {sequences, spec_.heads * spec_.head_size});
  s.lse = arena.allocate(DType::F32, {spec_.heads, sequences});
  pooled_attention_forward(by_head(s.out), s.lse, s.heads.q, s.heads.k, s.heads.v, starts,
                           1 / std::sqrt(float(spec_.head_size)));
  pool_last_forward(out, h, starts);
  out_.forward(pooled, out, s.out, true, saved(3));
  if (keep) {
    s.h_mid = arena.allocate(DType::F32, {sequences, spec_.width});
    copy(s.h_mid, out);
  }
  s.x2 = arena.allocate(context.compute, {sequences, spec_.width});
  norm2_.forward(context, s.x2, out, s.norm2);
  mlp_.forward(pooled, out, s.x2, true, s.mlp, keep);
}

void Block::backward_pooled(const Context& context, const BlockInputs& inputs, Tensor dh, Tensor dout, Tensor h_in,
                            const Saved& s) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t rows = h_in.rows(), sequences = dout.rows();
  const Tensor starts = inputs.starts;
  const Context pooled = pooled_context(context, starts);
  {  // h += mlp(norm2(h))
    ArenaScope inner(arena);
    Tensor dx2 = arena.allocate(DType::F32, {sequences, spec_.width});
    mlp_.backward(pooled, dx2, narrowed(context, dout), s.mlp);
    norm2_.backward(dout, dx2, s.h_mid, s.norm2);
  }
  Tensor dattended = arena.allocate(context.compute, {sequences, spec_.heads * spec_.head_size});
  out_.backward(pooled, dattended, narrowed(context, dout), s.linears[3], false);
  Heads d;
  if (fused()) {
    d = allocate_heads(context, rows);
    zero(d.whole);
  } else {
    d.k = arena.allocate(context.compute, {rows, spec_.kv_heads, spec_.head_size});
    d.v = arena.allocate(context.compute, {rows, spec_.kv_heads, spec_.head_size});
  }
  const Tensor all_q = d.q;
  d.q = arena.allocate(context.compute, {sequences, spec_.heads, spec_.head_size});
  const auto by_head = [&](Tensor x) { return x.reshape({sequences, spec_.heads, spec_.head_size}); };
  pooled_attention_backward(d.q, d.k, d.v, by_head(dattended), s.heads.q, s.heads.k, s.heads.v, by_head(s.out), s.lse,
                            starts, 1 / std::sqrt(float(spec_.head_size)));
  if (inputs.cos) {
    rope_apply(d.q, last_rows(context, inputs.cos, starts), last_rows(context, inputs.sin, starts), true);
    rope_apply(d.k, inputs.cos, inputs.sin, true);
  }
  if (head_norms()) {
    norm_backward_heads(context, q_norm_, d.q, s.q_raw, s.q_norm);
    norm_backward_heads(context, k_norm_, d.k, s.k_raw, s.k_norm);
  }
  Tensor dx1 = arena.allocate(DType::F32, {rows, spec_.width});
  if (fused()) {
    const size_t bytes = size_t(d.q.row_size()) * size_of(d.q.dtype);
    each_last(starts, [&](int64_t b, int64_t row) { std::memcpy(row_of(all_q, row), row_of(d.q, b), bytes); });
    qkv_[0].backward(context, dx1, d.whole, s.linears[0], false);
  } else {
    qkv_[1].backward(context, dx1, as_matrix(d.k), s.linears[1], false);
    qkv_[2].backward(context, dx1, as_matrix(d.v), s.linears[2], true);
    Tensor dlast = arena.allocate(DType::F32, {sequences, spec_.width});
    qkv_[0].backward(pooled, dlast, as_matrix(d.q), s.linears[0], false);
    each_last(starts, [&](int64_t b, int64_t row) {
      float *to = reinterpret_cast<float*>(row_of(dx1, row)), *from = reinterpret_cast<float*>(row_of(dlast, b));
      for (int64_t c = 0; c < spec_.width; ++c) to[c] += from[c];
    });
  }
  pool_last_backward(dh, dout, starts);
  norm1_.backward(dh, dx1, h_in, s.norm1);
}

}  // namespace vlm2vec
