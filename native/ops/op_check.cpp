#include "ops/op_check.h"

namespace vlm2vec {

namespace {

bool matches(DType dtype, Types types) {
  switch (types) {
    case Types::F32: return dtype == DType::F32;
    case Types::BF16: return dtype == DType::BF16;
    case Types::Float: return dtype == DType::F32 || dtype == DType::BF16;
    case Types::I32: return dtype == DType::I32;
  }
  return false;
}

const char* describe(Types types) {
  switch (types) {
    case Types::F32: return "f32";
    case Types::BF16: return "bf16";
    case Types::Float: return "f32 or bf16";
    case Types::I32: return "i32";
  }
  return "?";
}

std::string describe(std::initializer_list<int64_t> shape) {
  std::string text = "(";
  for (int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + ")";
}

bool has_shape(const Tensor& tensor, std::initializer_list<int64_t> shape) {
  if (tensor.rank != int(shape.size())) return false;
  int i = 0;
  for (int64_t size : shape)
    if (tensor.shape[i++] != size) return false;
  return true;
}

}  // namespace

void OpCheck::main(int rank, Types types, Rows rows) const {
  require(!x_.absent(), "E_SHAPE", op_, ": ", name_, " is absent");
  require(x_.rank == rank && matches(x_.dtype, types), "E_SHAPE", op_, ": ", name_, " ", x_,
          " is not a tensor of rank ", rank, " and type ", describe(types));
  require(rows == Rows::Strided || x_.dense(), "E_SHAPE", op_, ": ", name_, " ", x_,
          " has strided rows, which this op does not take");
}

void OpCheck::fits(const char* name, Tensor tensor, std::initializer_list<int64_t> shape, Types types,
                   Rows rows) const {
  require(!tensor.absent(), "E_SHAPE", op_, ": ", name, " is absent");
  require(has_shape(tensor, shape) && matches(tensor.dtype, types), "E_SHAPE", op_, ": ", name, " ", tensor,
          " does not fit ", name_, " ", x_, ": expected ", describe(shape), " ", describe(types));
  require(rows == Rows::Strided || tensor.dense(), "E_SHAPE", op_, ": ", name, " ", tensor,
          " has strided rows, which this op does not take");
  require(tensor.device == x_.device, "E_SHAPE", op_, ": ", name, " is on another device than ", name_);
}

void OpCheck::like(const char* name, Tensor tensor) const {
  require(!tensor.absent(), "E_SHAPE", op_, ": ", name, " is absent");
  bool same = tensor.rank == x_.rank && tensor.dtype == x_.dtype && tensor.dense();
  for (int i = 0; same && i < x_.rank; ++i) same = tensor.shape[i] == x_.shape[i];
  require(same, "E_SHAPE", op_, ": ", name, " ", tensor, " does not fit ", name_, " ", x_,
          ": expected the same, dense");
  require(tensor.device == x_.device, "E_SHAPE", op_, ": ", name, " is on another device than ", name_);
}

void OpCheck::on_cpu() const { require_cpu(*x_.device, op_); }

}  // namespace vlm2vec
