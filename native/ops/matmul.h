// Products of a linear layer y = x Wᵀ + b.
//   forward:  Y (M, N) = X (M, K) · W (N, K)ᵀ + bias
//   backward: dX (M, K) = dY (M, N) · W;   dW (N, K) += dYᵀ · X;   dbias (N) += sum over rows of dY
// On the CPU by oneDNN, with W reordered once into its blocked layout. A row of Y and dX has the same bits whatever the
// other rows: primitives are made for each M, and one whose implementation is not `brg:*` is refused and our own kernel
// of fixed order taken instead (reference: measured on oneDNN 2.6). Quantized weights, and those that are used where
// they lie, are read by our own kernels a panel at a time.
#pragma once
#include <memory>

#include "ops/quantize.h"

namespace vlm2vec {

// A weight matrix and the reordered copies of it that the products need. The copies are made at first use.
class Weight {
 public:
  enum class Use {
    Packed,  // products read reordered copies, but for bf16 where our own kernels compute, which have to widen it
             // anyway
    InPlace  // products read the values where they lie: slower, and no copy is made
  };

  Weight();
  // values (N, K) f32 or bf16, dense; must outlive this object or, where they are packed, the call to `pack`.
  explicit Weight(Tensor values, Use use = Use::Packed);
  // A quantized copy: the values are not needed afterwards.
  Weight(Tensor values, Quantization kind);
  Weight(Weight&&) noexcept;
  Weight& operator=(Weight&&) noexcept;
  ~Weight();

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  bool quantized() const;
  // The values given to the constructor; absent if quantized.
  Tensor values() const { return values_; }
  // Rows [first, first + rows of `to`) as the products see them, f32.
  void read_rows(Tensor to, int64_t first) const;

  // The values have changed (optimizer): packed copies are remade at the next use.
  void invalidate();
  // Makes the forward copy now, and with `backward` that of `matmul_backward_x`; false if there is none and products go
  // on reading the values. After true they are not read again, so that they may go. Codes of 8 bits become those of
  // `pack_whole_numbers` where the machine is fast with them.
  bool pack(bool backward = false);
  // Of a weight in int8: from now on `matmul_forward` quantizes x as well and multiplies whole numbers
  // (ops/matmul_int8_kernels.h); nothing else can be done with this weight any more.
  void pack_whole_numbers();
  size_t packed_bytes() const;  // copies and codes

  struct Packed;
  Packed& packed() const { return *packed_; }

 private:
  int64_t n_ = 0, k_ = 0;
  Tensor values_;
  std::unique_ptr<Packed> packed_;
};

// Bytes of the copies that the products of a weight (n, k) read on a device; 0 where there are none. `turned`: a frozen
// weight's second one is made when it is needed.
struct PackedCopies {
  size_t forward = 0, backward = 0;
  bool turned = false;
};
PackedCopies packed_copies(Device& device, DType type, int64_t n, int64_t k);

// Whether second copies that are made out of the first are kept from now on (as at the beginning), or each made for one
// product: with kManyRows rows that takes a small part of the product's time.
constexpr int64_t kManyRows = 192;
void keep_turned_copies(Device& device, bool keep);

// A product of small depth R that is added to another one: u · Bᵀ forward (u (M, R), B (N, R)), du · A backward (du (M,
// R), A (R, K)). Where our own kernels compute, it is R more steps of the same sums; beside oneDNN it is a product of
// its own, written first and added to, so that nothing wider than `out` is stored.
struct LowRank {
  Tensor x;
  const Weight* weight = nullptr;  // null: none
};

// out (M, N) f32 or bf16, x (M, K) of the weight's type (of any where it is quantized or used in place), bias (N) f32
// or absent. accumulate: out += instead of out = (f32 out only: the residual stream). All dense.
void matmul_forward(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate = false,
                    LowRank low_rank = {});
// dx (M, K) f32 or bf16, dout (M, N) of the weight's type. accumulate as above.
void matmul_backward_x(Tensor dx, Tensor dout, const Weight& weight, bool accumulate = false, LowRank low_rank = {});
// dweight (N, K) f32, added to. dbias (N) f32, added to, or absent. dout (M, N) and x (M, K) of one type, f32 or bf16.
void matmul_backward_weight(Tensor dweight, Tensor dbias, Tensor dout, Tensor x);

}  // namespace vlm2vec
