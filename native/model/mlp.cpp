#include "model/mlp.h"

#include <algorithm>

#include "ops/gelu.h"
#include "ops/swiglu.h"

namespace vlm2vec {

namespace {

constexpr int64_t kRowBlock = 1024;

// The halves of rows (M, 2 F).
Tensor half(Tensor x, int index) {
  Tensor result = x;
  const int64_t columns = x.shape[1] / 2;
  result.data = static_cast<uint8_t*>(x.data) + size_t(index * columns) * size_of(x.dtype);
  result.shape[1] = columns;
  return result;  // row_stride stays that of the whole
}

}  // namespace

Mlp::Mlp(Weights& weights, const MlpSpec& spec)
    : gated_(spec.gated),
      activation_(spec.activation),
      first_(weights, {spec.modules.begin(), spec.modules.end() - 1}),
      last_(weights, spec.modules.back()) {}

// Nothing reads the hidden numbers again: they are made for some rows at a time, in the same memory.
void Mlp::forward_through(const Context& context, Tensor out, Tensor x, bool accumulate) const {
  Context block = context;
  for (int64_t row = 0; row < x.rows(); row += kRowBlock) {
    ArenaScope scope(context.scratch);
    const int64_t rows = std::min(kRowBlock, x.rows() - row);
    if (context.row_ids) block.row_ids = context.row_ids.slice(row, rows);
    Saved discarded;
    forward_rows(block, out.slice(row, rows), x.slice(row, rows), accumulate, discarded, false);
  }
}

void Mlp::forward(const Context& context, Tensor out, Tensor x, bool accumulate, Saved& s, bool keep) const {
  if (keep) return forward_rows(context, out, x, accumulate, s, true);
  forward_through(context, out, x, accumulate);
}

void Mlp::forward_rows(const Context& context, Tensor out, Tensor x, bool accumulate, Saved& s, bool keep) const {
  Arena& arena = context.scratch;
  const int64_t m = x.rows(), f = hidden_size();
  std::vector<Tensor> outs;
  for (size_t i = 0; i < first_.size(); ++i) outs.push_back(arena.allocate(context.compute, {m, first_.n(i)}));
  first_.forward(context, outs, x, keep ? s.first : nullptr);
  s.hidden = fused() ? half(outs[0], 0) : outs[0];
  s.up = fused() ? half(outs[0], 1) : gated_ ? outs[1] : Tensor();
  s.activated = keep || fused() ? arena.allocate(context.compute, {m, f}) : s.hidden;
  if (gated_) {
    swiglu_forward(s.activated, s.hidden, s.up);
  } else {
    gelu_forward(s.activated, s.hidden, activation_);
  }
  last_.forward(context, out, s.activated, accumulate, keep ? &s.last : nullptr);
}

void Mlp::backward(const Context& context, Tensor dx, Tensor dout, const Saved& s) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t m = dout.rows(), f = hidden_size();
  Tensor dactivated = arena.allocate(context.compute, {m, f});
  last_.backward(context, dactivated, dout, s.last, false);
  if (!gated_) {
    gelu_backward(dactivated, dactivated, s.hidden, activation_);
    return first_.backward(context, dx, {dactivated}, s.first);
  }
  swiglu_backward(s.hidden, s.up, dactivated, s.hidden, s.up);
  if (!fused()) return first_.backward(context, dx, {s.hidden, s.up}, s.first);
  first_.backward(context, dx, {Tensor(context.device, s.hidden.data, s.hidden.dtype, {m, 2 * f})}, s.first);
}

}  // namespace vlm2vec
