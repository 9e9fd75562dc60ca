// Products of a linear layer y = x Wᵀ + b.
//   forward:  Y (M, N) = X (M, K) · W (N, K)ᵀ + bias
//   backward: dX (M, K) = dY (M, N) · W;   dW (N, K) += dYᵀ · X;   dbias (N) += sum over rows of dY
// On the CPU by oneDNN, with W reordered once into its blocked layout. A row of Y and dX has the same bits whatever the
// other rows: primitives are made for each M, and one whose implementation is not `brg:*` is refused and our own kernel
// of fixed order taken instead (reference: measured on oneDNN 2.6).
#pragma once
#include <memory>

#include "core/tensor.h"

namespace vlm2vec {

// A weight matrix and the reordered copies of it that the products need. The copies are made at first use.
class Weight {
 public:
  Weight();
  // values (N, K) f32 or bf16, dense; must outlive this object or the call to `pack_and_release`.
  explicit Weight(Tensor values);
  Weight(Weight&&) noexcept;
  Weight& operator=(Weight&&) noexcept;
  ~Weight();

  Tensor values() const { return values_; }
  int64_t n() const { return values_.shape[0]; }
  int64_t k() const { return values_.shape[1]; }

  // The values have changed (optimizer): packed copies are remade at the next use.
  void invalidate();
  // Makes the forward copy now. Afterwards `matmul_forward` reads only that copy, so the pages of a mapped file may be
  // given back; they are read again if `matmul_backward_x` needs its own copy.
  void pack();
  size_t packed_bytes() const;

  struct Packed;
  Packed& packed() const { return *packed_; }

 private:
  Tensor values_;
  std::unique_ptr<Packed> packed_;
};

// out (M, N) f32 or bf16, x (M, K) of the weight's type, bias (N) f32 or absent. accumulate: out += instead of out =
// (f32 out only: the residual stream). All dense.
void matmul_forward(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate = false);
// dx (M, K) f32 or bf16, dout (M, N) of the weight's type. accumulate as above.
void matmul_backward_x(Tensor dx, Tensor dout, const Weight& weight, bool accumulate = false);
// dweight (N, K) f32, added to. dbias (N) f32, added to, or absent. dout (M, N) and x (M, K) of one type, f32 or bf16.
void matmul_backward_weight(Tensor dweight, Tensor dbias, Tensor dout, Tensor x);

}  // namespace vlm2vec
