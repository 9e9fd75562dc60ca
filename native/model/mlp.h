// The two-layer network of a block. Plain: second(act(first(x))). Gated: down(silu(gate(x)) * up(x)), gate and up being
// two linear layers or the halves of one.
#pragma once
#include "model/linear_group.h"

namespace vlm2vec {

struct MlpSpec {
  // Modules: {first, second}; gated {gate, up, down}, or {gate_up, down}.
  std::vector<std::string> modules{};
  bool gated = false;
  Activation activation = Activation::Silu;  // of a plain one
};

class Mlp {
 public:
  struct Saved {
    Tensor hidden;     // (M, F), or gate (M, F) as a part of what a fused gate_up puts out
    Tensor up;         // (M, F), gated only
    Tensor activated;  // (M, F) input of the last layer
    Linear::Saved first[2], last;
  };

  Mlp() = default;
  Mlp(Weights& weights, const MlpSpec& spec);

  int64_t hidden_size() const { return last_.k(); }
  // Numbers a row that a pass keeps.
  int64_t saved_numbers() const { return hidden_size() * (gated_ ? 3 : 2); }
  // out (M, N) = or, with `accumulate`, += the network of x (M, K).
  void forward(const Context& context, Tensor out, Tensor x, bool accumulate, Saved& saved, bool keep) const;
  // dx (M, K) f32 is overwritten; dout (M, N) of the compute type. What a gated one has saved is used up.
  void backward(const Context& context, Tensor dx, Tensor dout, const Saved& saved) const;
  template <typename F>
  void each_linear(const F& f) {
    first_.each_linear(f);
    f(last_);
  }

 private:
  void forward_rows(const Context& context, Tensor out, Tensor x, bool accumulate, Saved& saved, bool keep) const;
  void forward_through(const Context& context, Tensor out, Tensor x, bool accumulate) const;
  bool fused() const { return gated_ && first_.size() == 1; }

  bool gated_ = false;
  Activation activation_ = Activation::Silu;
  LinearGroup first_;
  Linear last_;
};

}  // namespace vlm2vec
