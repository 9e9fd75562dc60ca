// What an op demands of its arguments. Errors name the op, the tensor and both shapes:
//   "rmsnorm_forward: weight (1536) f32 does not fit x (12, 2048) f32: expected (2048) f32"
#pragma once
#include <initializer_list>

#include "core/device.h"

namespace vlm2vec {

enum class Types { F32, BF16, Float, I32 };  // Float: f32 or bf16
enum class Rows { Dense, Strided };

class OpCheck {
 public:
  // `x` is the argument that the others are measured against.
  OpCheck(const char* op, const char* name, Tensor x) : op_(op), name_(name), x_(x) {}

  // x itself. E_SHAPE unless it has this rank and type.
  void main(int rank, Types types, Rows rows = Rows::Dense) const;
  // E_SHAPE unless the tensor is there, on x's device, of these sizes and type.
  void fits(const char* name, Tensor tensor, std::initializer_list<int64_t> shape, Types types,
            Rows rows = Rows::Dense) const;
  // E_SHAPE unless the tensor is dense, of x's sizes and x's type.
  void like(const char* name, Tensor tensor) const;
  // E_CUDA for a tensor on a GPU: this op has no CUDA kernel.
  void on_cpu() const;

 private:
  const char* op_;
  const char* name_;
  Tensor x_;
};

}  // namespace vlm2vec
