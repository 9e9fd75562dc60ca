#include "ops/cast.h"

#include "ops/cast_kernels.h"
#include "ops/op_check.h"

namespace vlm2vec {

namespace {

bool is_float(DType dtype) { return dtype == DType::F32 || dtype == DType::BF16; }

// Both there, dense, of one size, on one device of the CPU.
void check_pair(const char* op, const char* to_name, Tensor to, const char* from_name, Tensor from) {
  require(!to.absent() && !from.absent(), "E_SHAPE", op, ": ", to.absent() ? to_name : from_name, " is absent");
  require(to.dense() && from.dense() && to.size() == from.size(), "E_SHAPE", op, ": ", from_name, " ", from,
          " does not fit ", to_name, " ", to, ": both must be dense and of one size");
  require(to.device == from.device, "E_SHAPE", op, ": ", from_name, " is on another device than ", to_name);
  require_cpu(*to.device, op);
}

}  // namespace

void cast(Tensor to, Tensor from) {
  check_pair("cast", "to", to, "from", from);
  require(is_float(to.dtype) && (is_float(from.dtype) || from.dtype == DType::F16), "E_SHAPE", "cast: from ", from,
          " to ", to, ": only f32, bf16 and (from) f16 are cast");
  if (to.dtype == from.dtype) return to.device->copy(to.data, from.data, to.bytes());
  VLM2VEC_KERNELS(to.device->isa(), cast_kernels)
      .cast({to.data, to.dtype, from.data, from.dtype, to.size(), to.device->threads()});
}

bool all_finite(Tensor x) {
  check_pair("all_finite", "x", x, "x", x);
  require(is_float(x.dtype) || x.dtype == DType::F16, "E_SHAPE", "all_finite: x ", x, " is not f32, bf16 or f16");
  return VLM2VEC_KERNELS(x.device->isa(), cast_kernels).all_finite(x.data, x.dtype, x.size(), x.device->threads());
}

void add_scaled(Tensor x, Tensor y, float scale) {
  check_pair("add_scaled", "x", x, "y", y);
  require(x.dtype == DType::F32 && is_float(y.dtype), "E_SHAPE", "add_scaled: x ", x, " must be f32, y ", y,
          " f32 or bf16");
  VLM2VEC_KERNELS(x.device->isa(), cast_kernels)
      .add_scaled(x.as<float>(), y.data, y.dtype, scale, x.size(), x.device->threads());
}

void scale(Tensor out, Tensor x, float factor) {
  require(!out.absent() && !x.absent(), "E_SHAPE", "scale: ", out.absent() ? "out" : "x", " is absent");
  if (!out.dense() || !x.dense()) {
    require(out.rank == 2 && x.rank == 2 && out.rows() == x.rows(), "E_SHAPE", "scale: x ", x, " does not fit out ",
            out);
    for (int64_t i = 0; i < x.rows(); ++i) scale(out.slice(i, 1), x.slice(i, 1), factor);
    return;
  }
  check_pair("scale", "out", out, "x", x);
  require(is_float(out.dtype) && is_float(x.dtype), "E_SHAPE", "scale: out ", out, " and x ", x,
          " must be f32 or bf16");
  require(out.data != x.data || out.dtype == x.dtype, "E_SHAPE", "scale: in place out ", out,
          " must have the type of x ", x);
  VLM2VEC_KERNELS(x.device->isa(), cast_kernels)
      .scale({out.data, out.dtype, x.data, x.dtype, x.size(), x.device->threads()}, factor);
}

}  // namespace vlm2vec
