#include "model/norm.h"

#include "ops/layernorm.h"
#include "ops/rmsnorm.h"

namespace vlm2vec {

Norm::Norm(Weights& weights, const std::string& module, float eps)
    : weight_(&weights.at(module + ".weight")), bias_(weights.find(module + ".bias")), eps_(eps) {}

void Norm::forward(const Context& context, Tensor out, Tensor x, Saved& saved) const {
  saved.rstd = context.scratch.allocate(DType::F32, {x.rows()});
  if (!bias_) return rmsnorm_forward(out, saved.rstd, x, weight_->value, eps_);
  saved.mean = context.scratch.allocate(DType::F32, {x.rows()});
  layernorm_forward(out, saved.mean, saved.rstd, x, weight_->value, bias_->value, eps_);
}

void Norm::backward(Tensor dx, Tensor dout, Tensor x, const Saved& saved) const {
  if (!bias_) return rmsnorm_backward(dx, weight_->gradient, dout, x, weight_->value, saved.rstd);
  layernorm_backward(dx, weight_->gradient, bias_->gradient, dout, x, weight_->value, saved.mean, saved.rstd);
}

}  // namespace vlm2vec
