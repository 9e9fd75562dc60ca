#include "model/linear.h"

#include <algorithm>
#include <vector>

#include "ops/cast.h"
#include "ops/dora.h"
#include "ops/dropout.h"

namespace vlm2vec {

Linear::Linear(Weights& weights, const std::string& module)
    : parameter_(&weights.at(module + ".weight")),
      bias_(weights.find(module + ".bias")),
      adapter_(weights.adapter(module)) {
  weights.open_values(*parameter_);
  const Quantization quantization = weights.quantization(*parameter_);
  weight_ = quantization != Quantization::None
                ? Weight(parameter_->value, quantization)
                : Weight(parameter_->value, weights.options().in_place ? Weight::Use::InPlace : Weight::Use::Packed);
  if (adapter_) {
    a_ = Weight(adapter_->a.value);
    b_ = Weight(adapter_->b.value);
  }
  if (adapter_ && adapter_->spec.dora) {
    dora_ = std::make_shared<Arena>(weights.device(), "DoRA norms");
    norm_ = dora_->allocate(DType::F32, {n()});
    c_ = dora_->allocate(DType::F32, {n()});
  }
  if (adapter_ && adapter_->new_magnitude) dora_norm_to(adapter_->magnitude.master);
  if (!weights.options().training && c_) refresh_dora();
  const bool training = weights.options().training;
  const bool copied =
      training ? weight_.quantized() || (!parameter_->trained() && weight_.pack(weights.passes_gradients(*parameter_)))
               : weight_.pack();
  if (!copied) return;
  const bool read_each_step = training && c_ && !weight_.quantized();  // for DoRA's norms
  if (read_each_step)
    parameter_->file->drop_pages(*parameter_->stored);
  else
    weights.close_values(*parameter_);
}

Linear::Linear(Parameter& weight, Adapter* adapter) : parameter_(&weight), adapter_(adapter), weight_(weight.value) {
  if (!adapter_) return;
  a_ = Weight(adapter_->a.value);
  b_ = Weight(adapter_->b.value);
}

// norm (N) = |W + s B A|, some rows of W at a time: they may have to be unpacked.
void Linear::dora_norm_to(Tensor norm) const {
  constexpr int64_t kRows = 64;
  Device& device = *norm.device;
  std::vector<float> memory(size_t(std::min(kRows, n()) * k()));
  for (int64_t first = 0; first < n(); first += kRows) {
    const int64_t count = std::min(kRows, n() - first);
    Tensor rows(device, memory.data(), DType::F32, {count, k()});
    weight_.read_rows(rows, first);
    dora_norm(norm.slice(first, count), rows, adapter_->a.master, adapter_->b.master.slice(first, count),
              adapter_->spec.scale);
  }
}

bool Linear::trains() const {
  return parameter_->trained() || (bias_ && bias_->trained()) || (adapter_ && adapter_->a.trained());
}

size_t Linear::packed_bytes() const {
  return weight_.packed_bytes() + (adapter_ ? a_.packed_bytes() + b_.packed_bytes() : 0);
}

void Linear::invalidate() {
  if (parameter_->trained()) weight_.invalidate();
  ++version_;
  if (adapter_ && adapter_->a.trained()) {
    a_.invalidate();
    b_.invalidate();
    dora_stale_ = true;
  }
}

// c = m / |W + s B A|; the weights change once a step, so this is done once a step.
void Linear::refresh_dora() const {
  if (!dora_stale_) return;
  dora_norm_to(norm_);
  const float *m = adapter_->magnitude.master.as<float>(), *norm = norm_.as<float>();
  for (int64_t i = 0; i < n(); ++i) c_.as<float>()[i] = m[i] / norm[i];
  dora_stale_ = false;
}

Tensor Linear::dropped_input(const Context& context, Tensor x) const {
  if (context.dropout <= 0) return {};
  Tensor dropped = context.scratch.allocate(x.dtype, {x.rows(), k()});
  dropout_apply(dropped, x, context.row_ids, {context.dropout, context.seed + (context.step << 20), adapter_->stream});
  return dropped;
}

void Linear::forward(const Context& context, Tensor out, Tensor x, bool accumulate, Saved* saved, Tensor u) const {
  if (saved) saved->x = x;
  if (!adapter_) return matmul_forward(out, x, weight_, bias(), accumulate);
  if (saved) return forward_adapter(context, out, x, accumulate, *saved, u);
  ArenaScope scope(context.scratch);
  Saved discarded;
  forward_adapter(context, out, x, accumulate, discarded, u);
}

void Linear::forward_adapter(const Context& context, Tensor out, Tensor x, bool accumulate, Saved& saved,
                             Tensor u) const {
  const int64_t m = x.rows();
  saved.dropped = dropped_input(context, x);
  const Tensor input = saved.dropped ? saved.dropped : x;
  saved.u = u;
  if (!u) {
    saved.u = context.scratch.allocate(x.dtype, {m, adapter_->spec.rank});
    matmul_forward(saved.u, input, a_, {});
    scale(saved.u, saved.u, adapter_->spec.scale);
  }
  const LowRank low_rank{saved.u, &b_};
  if (!adapter_->spec.dora) return matmul_forward(out, x, weight_, bias(), accumulate, low_rank);

  refresh_dora();
  saved.z = context.scratch.allocate(DType::F32, {m, n()});
  ArenaScope scope(context.scratch);
  Tensor y = context.scratch.allocate(DType::F32, {m, n()});
  matmul_forward(saved.z, input, weight_, {}, false, saved.dropped ? LowRank{} : low_rank);
  Tensor correction;  // x Wᵀ - d(x) Wᵀ
  if (saved.dropped) {
    correction = context.scratch.allocate(DType::F32, {m, n()});
    matmul_forward(correction, x, weight_, {});
    add_scaled(correction, saved.z, -1);
    matmul_forward(saved.z, saved.u, b_, {}, true);
  }
  row_scale_forward(y, saved.z, c_, bias());
  if (correction) add_scaled(y, correction, 1);
  if (accumulate) {
    add_scaled(out, y, 1);
  } else {
    cast(out, y);
  }
}

Linear::Upstream Linear::backward_outputs(const Context& context, Tensor dout, const Saved& saved) const {
  const int64_t m = dout.rows();
  Upstream d{dout, {}};  // the gradient of z is that of y where there is no DoRA
  if (adapter_->spec.dora) {
    d.dz = context.scratch.allocate(dout.dtype, {m, n()});
    ArenaScope scope(context.scratch);
    Tensor wide = context.scratch.allocate(DType::F32, {m, n()});
    cast(wide, dout);
    row_scale_backward(wide, adapter_->magnitude.gradient, wide, saved.z, c_, norm_);
    cast(d.dz, wide);
  }
  d.du = context.scratch.allocate(dout.dtype, {m, adapter_->spec.rank});
  matmul_backward_x(d.du, d.dz, b_);
  scale(d.du, d.du, adapter_->spec.scale);
  if (adapter_->b.trained()) matmul_backward_weight(adapter_->b.gradient, {}, d.dz, saved.u);
  return d;
}

void Linear::backward(const Context& context, Tensor dx, Tensor dout, const Saved& saved, bool accumulate) const {
  if (parameter_->trained() || (bias_ && bias_->trained())) {
    require(!adapter_, "E_INTERNAL", "an adapter's base weight is trained");
    matmul_backward_weight(parameter_->gradient, bias_ ? bias_->gradient : Tensor(), dout, saved.x);
  }
  if (!adapter_) {
    if (dx) matmul_backward_x(dx, dout, weight_, accumulate);
    return;
  }
  ArenaScope scope(context.scratch);
  const int64_t m = dout.rows();
  const auto [dz, du] = backward_outputs(context, dout, saved);
  if (adapter_->a.trained())
    matmul_backward_weight(adapter_->a.gradient, {}, du, saved.dropped ? saved.dropped : saved.x);
  if (!dx) return;
  if (!saved.dropped) return backward_input(dx, dz, accumulate, {du, &a_});
  // what went through the dropped input: dz Wᵀ - dout Wᵀ (DoRA), and the adapter; its gradient is dropped alike
  Tensor through = context.scratch.allocate(DType::F32, {m, k()});
  matmul_backward_x(through, du, a_);
  if (adapter_->spec.dora) {
    Tensor difference = context.scratch.allocate(DType::F32, {m, n()});
    cast(difference, dz);
    add_scaled(difference, dout, -1);
    Tensor narrow = context.scratch.allocate(dout.dtype, {m, n()});
    cast(narrow, difference);
    matmul_backward_x(through, narrow, weight_, true);
  }
  dropout_apply(through, through, context.row_ids,
                {context.dropout, context.seed + (context.step << 20), adapter_->stream});
  Tensor sum = through;
  if (dx.dtype == DType::F32) {
    matmul_backward_x(dx, dout, weight_, accumulate);
    return add_scaled(dx, sum, 1);
  }
  matmul_backward_x(sum, dout, weight_, true);
  cast(dx, sum);
}

}  // namespace vlm2vec
