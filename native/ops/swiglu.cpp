#include "ops/swiglu.h"

#include <utility>

#include "ops/op_check.h"
#include "ops/swiglu_kernels.h"

namespace vlm2vec {

namespace {

struct Shape {
  int64_t rows, columns;
};

Shape check_all(const char* op, Tensor gate, std::initializer_list<std::pair<const char*, Tensor>> others) {
  const OpCheck check(op, "gate", gate);
  check.main(2, Types::Float, Rows::Strided);
  bool dense = gate.dense();
  for (const auto& [name, tensor] : others) {
    check.fits(name, tensor, {gate.shape[0], gate.shape[1]}, gate.dtype == DType::F32 ? Types::F32 : Types::BF16,
               Rows::Strided);
    dense = dense && tensor.dense();
  }
  check.on_cpu();
  // dense tensors are one long row
  return dense ? Shape{1, gate.size()} : Shape{gate.shape[0], gate.shape[1]};
}

SwigluRows<void> written(Tensor x) { return {x.data, x.row_stride}; }
SwigluRows<const void> read(Tensor x) { return {x.data, x.row_stride}; }

}  // namespace

void swiglu_forward(Tensor out, Tensor gate, Tensor up) {
  const Shape shape = check_all("swiglu_forward", gate, {{"out", out}, {"up", up}});
  VLM2VEC_KERNELS(gate.device->isa(), swiglu_kernels)
      .forward({gate.dtype, written(out), read(gate), read(up), shape.rows, shape.columns, gate.device->threads()});
}

void swiglu_backward(Tensor dgate, Tensor dup, Tensor dout, Tensor gate, Tensor up) {
  const Shape shape = check_all("swiglu_backward", gate, {{"dgate", dgate}, {"dup", dup}, {"dout", dout}, {"up", up}});
  VLM2VEC_KERNELS(gate.device->isa(), swiglu_kernels)
      .backward({gate.dtype, written(dgate), written(dup), read(dout), read(gate), read(up), shape.rows, shape.columns,
                 gate.device->threads()});
}

}  // namespace vlm2vec
