#include "model/mlp.h"

#include "ops/gelu.h"
#include "ops/swiglu.h"

namespace vlm2vec {

namespace {

// The halves of rows (M, 2 F).
Tensor half(Tensor x, int index) {
  Tensor result = x;
  const int64_t columns = x.shape[1] / 2;
  result.data = static_cast<uint8_t*>(x.data) + size_t(index * columns) * size_of(x.dtype);
  result.shape[1] = columns;
  return result;  // row_stride stays that of the whole
}

}  // namespace

Mlp::Mlp(Weights& weights, const MlpSpec& spec) : gated_(spec.gated), activation_(spec.activation) {
  for (const std::string& module : spec.modules) linears_.emplace_back(weights, module);
}

void Mlp::forward(const Context& context, Tensor out, Tensor x, bool accumulate, Saved& s, bool keep) const {
  Arena& arena = context.scratch;
  const int64_t m = x.rows(), f = hidden_size();
  const auto saved = [&](int index) { return keep ? &s.linears[index] : nullptr; };
  if (fused()) {
    Tensor both = arena.allocate(context.compute, {m, 2 * f});
    linears_[0].forward(context, both, x, false, saved(0));
    s.hidden = half(both, 0);
    s.up = half(both, 1);
  } else {
    s.hidden = arena.allocate(context.compute, {m, f});
    linears_[0].forward(context, s.hidden, x, false, saved(0));
    if (gated_) {
      s.up = arena.allocate(context.compute, {m, f});
      linears_[1].forward(context, s.up, x, false, saved(1));
    }
  }
  s.activated = keep || fused() ? arena.allocate(context.compute, {m, f}) : s.hidden;
  if (gated_) {
    swiglu_forward(s.activated, s.hidden, s.up);
  } else {
    gelu_forward(s.activated, s.hidden, activation_);
  }
  const int last = int(linears_.size()) - 1;
  linears_[size_t(last)].forward(context, out, s.activated, accumulate, saved(last));
}

void Mlp::backward(const Context& context, Tensor dx, Tensor dout, const Saved& s) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t m = dout.rows(), f = hidden_size();
  const int last = int(linears_.size()) - 1;
  Tensor dactivated = arena.allocate(context.compute, {m, f});
  linears_[size_t(last)].backward(context, dactivated, dout, s.linears[last], false);
  if (!gated_) {
    gelu_backward(dactivated, dactivated, s.hidden, activation_);
    return linears_[0].backward(context, dx, dactivated, s.linears[0], false);
  }
  if (fused()) {
    Tensor dboth = arena.allocate(context.compute, {m, 2 * f});
    swiglu_backward(half(dboth, 0), half(dboth, 1), dactivated, s.hidden, s.up);
    return linears_[0].backward(context, dx, dboth, s.linears[0], false);
  }
  Tensor dgate = arena.allocate(context.compute, {m, f}), dup = arena.allocate(context.compute, {m, f});
  swiglu_backward(dgate, dup, dactivated, s.hidden, s.up);
  linears_[0].backward(context, dx, dgate, s.linears[0], false);
  linears_[1].backward(context, dx, dup, s.linears[1], true);
}

}  // namespace vlm2vec
