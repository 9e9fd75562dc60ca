#include "model/linear_group.h"

#include "ops/cast.h"

namespace vlm2vec {

LinearGroup::LinearGroup(Weights& weights, const std::vector<std::string>& modules) {
  int64_t rank = 0;
  int adapted = 0;
  for (const std::string& module : modules) {
    linears_.emplace_back(weights, module);
    const Adapter* adapter = linears_.back().adapter();
    if (!adapter) continue;
    ++adapted;
    rank += adapter->spec.rank;
  }
  if (adapted < 2) return;
  rank_ = rank;
  memory_ = std::make_shared<Arena>(weights.device(), "adapters of one input");
  stacked_ = memory_->allocate(weights.options().compute, {rank, linears_[0].k()});
  a_ = Weight(stacked_);
}

// The adapters change once a step.
void LinearGroup::refresh() const {
  int64_t version = 0, first = 0;
  for (const Linear& linear : linears_) version += linear.version();
  if (version == version_) return;
  version_ = version;
  for (const Linear& linear : linears_)
    if (const Adapter* adapter = linear.adapter()) {
      copy(stacked_.slice(first, adapter->spec.rank), adapter->a.value);
      first += adapter->spec.rank;
    }
  a_.invalidate();
}

void LinearGroup::forward(const Context& context, const std::vector<Tensor>& outs, Tensor x,
                          Linear::Saved* saved) const {
  const auto kept = [&](size_t i) { return saved ? saved + i : nullptr; };
  if (!shares(context)) {
    for (size_t i = 0; i < size(); ++i) linears_[i].forward(context, outs[i], x, false, kept(i));
    return;
  }
  refresh();
  Arena& arena = context.scratch;
  const Arena::Mark mark = arena.mark();
  std::vector<Tensor> us(size());
  for (size_t i = 0; i < size(); ++i)
    if (const Adapter* adapter = linears_[i].adapter()) us[i] = arena.allocate(x.dtype, {x.rows(), adapter->spec.rank});
  {
    ArenaScope scope(arena);
    Tensor all = arena.allocate(x.dtype, {x.rows(), rank_});
    matmul_forward(all, x, a_, {});
    int64_t first = 0;
    for (size_t i = 0; i < size(); ++i)
      if (const Adapter* adapter = linears_[i].adapter()) {
        scale(us[i], all.columns(first, adapter->spec.rank), adapter->spec.scale);
        first += adapter->spec.rank;
      }
  }
  for (size_t i = 0; i < size(); ++i) linears_[i].forward(context, outs[i], x, false, kept(i), us[i]);
  if (!saved) arena.rewind(mark);
}

void LinearGroup::backward(const Context& context, Tensor dx, const std::vector<Tensor>& douts,
                           const Linear::Saved* saved) const {
  if (!shares(context)) {
    for (size_t i = 0; i < size(); ++i) linears_[i].backward(context, dx, douts[i], saved[i], i > 0);
    return;
  }
  refresh();
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const Tensor x = saved[0].x;
  Tensor all = arena.allocate(x.dtype, {x.rows(), rank_});
  bool trains = false;
  int64_t first = 0;
  for (size_t i = 0; i < size(); ++i) {
    const Adapter* adapter = linears_[i].adapter();
    const bool last = i + 1 == size();
    if (!adapter) {
      linears_[i].backward(context, last ? Tensor() : dx, douts[i], saved[i], i > 0);
      if (last) linears_[i].backward_input(dx, douts[i], i > 0, {all, &a_});
      continue;
    }
    trains = trains || adapter->a.trained();
    ArenaScope own(arena);
    const Linear::Upstream d = linears_[i].backward_outputs(context, douts[i], saved[i]);
    scale(all.columns(first, adapter->spec.rank), d.du, 1);
    first += adapter->spec.rank;
    linears_[i].backward_input(dx, d.dz, i > 0, last ? LowRank{all, &a_} : LowRank{});
  }
  if (!trains) return;
  Tensor da = arena.allocate_zero(DType::F32, {rank_, x.shape[1]});
  matmul_backward_weight(da, {}, all, x);
  first = 0;
  for (const Linear& linear : linears_)
    if (const Adapter* adapter = linear.adapter()) {
      add_scaled(adapter->a.gradient, da.slice(first, adapter->spec.rank), 1);
      first += adapter->spec.rank;
    }
}

}  // namespace vlm2vec
