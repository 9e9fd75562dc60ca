// Linear layers that read the same input: q, k and v; gate and up. Their adapters' first products are one,
//   [u_1 | u_2 | ...] = x [A_1; A_2; ...]ᵀ,
// and so are the gradients of all A and what the adapters add to dx; x is read once for them, not once for each. With
// dropout every adapter sees an input of its own, and each layer computes for itself.
#pragma once
#include "model/linear.h"

namespace vlm2vec {

class LinearGroup {
 public:
  LinearGroup() = default;
  LinearGroup(Weights& weights, const std::vector<std::string>& modules);

  size_t size() const { return linears_.size(); }
  const Linear& operator[](size_t index) const { return linears_[index]; }
  int64_t n(size_t index) const { return linears_[index].n(); }
  // outs[i] (M, N_i) = y_i of x (M, K). `saved`: one a layer, or null.
  void forward(const Context& context, const std::vector<Tensor>& outs, Tensor x, Linear::Saved* saved) const;
  // dx (M, K) = the sum of all layers' gradients of x; f32.
  void backward(const Context& context, Tensor dx, const std::vector<Tensor>& douts, const Linear::Saved* saved) const;

  template <typename F>
  void each_linear(const F& f) {
    for (Linear& linear : linears_) f(linear);
  }

 private:
  bool shares(const Context& context) const { return rank_ > 0 && context.dropout <= 0; }
  void refresh() const;

  std::vector<Linear> linears_;
  // Where at least two layers have adapters: all A, one below the other.
  int64_t rank_ = 0;
  std::shared_ptr<Arena> memory_;
  Tensor stacked_;  // (sum of R, K)
  mutable Weight a_;
  mutable int64_t version_ = -1;
};

}  // namespace vlm2vec
