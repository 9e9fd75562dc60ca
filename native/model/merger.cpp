#include "model/merger.h"

namespace vlm2vec {

namespace {

// The merger's rows are features of `merged` patches: their place in the batch follows from their first patch.
Context feature_context(const Context& context, int64_t features, int64_t merged) {
  Context result = context;
  if (context.dropout <= 0) return result;
  result.row_ids = context.scratch.allocate(DType::I32, {features});
  for (int64_t i = 0; i < features; ++i)
    result.row_ids.as<int32_t>()[i] = context.row_ids.as<int32_t>()[i * merged] / int32_t(merged);
  return result;
}

}  // namespace

Merger::Merger(Weights& weights, const MergerSpec& spec, const VisionConfig& config)
    : width_(config.embed_dim * config.merged()),
      merged_(config.merged()),
      norm_(weights, spec.norm, config.norm_eps),
      mlp_(weights, {{spec.first, spec.second}, false, Activation::GeluErf}) {}

void Merger::forward(const Context& context, Tensor features, Tensor h, Saved& s, bool keep) const {
  s.h = h;
  Tensor x = context.scratch.allocate(context.compute, {features.rows(), width_});
  norm_.forward(context, normed(x), normed(h), s.norm);
  mlp_.forward(feature_context(context, features.rows(), merged_), features, x, false, s.mlp, keep);
}

void Merger::backward(const Context& context, Tensor dh, Tensor dfeatures, const Saved& s) const {
  ArenaScope scope(context.scratch);
  Tensor dx = context.scratch.allocate(DType::F32, {dfeatures.rows(), width_});
  const Context features = feature_context(context, dfeatures.rows(), merged_);
  mlp_.backward(features, dx, narrowed(context, dfeatures), s.mlp);
  norm_.backward(normed(dh), normed(dx), normed(s.h), s.norm);
}

}  // namespace vlm2vec
