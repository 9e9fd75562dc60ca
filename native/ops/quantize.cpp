#include "ops/quantize.h"

#include "ops/op_check.h"
#include "ops/quantize_kernels.h"

namespace vlm2vec {

// bitsandbytes.functional.get_4bit_type("nf4")
const float kNf4Levels[16] = {-1.0f,
                              -0.6961928009986877f,
                              -0.5250730514526367f,
                              -0.39491748809814453f,
                              -0.28444138169288635f,
                              -0.18477343022823334f,
                              -0.09105003625154495f,
                              0.0f,
                              0.07958029955625534f,
                              0.16093020141124725f,
                              0.24611230194568634f,
                              0.33791524171829224f,
                              0.44070982933044434f,
                              0.5626170039176941f,
                              0.7229568362236023f,
                              1.0f};

const char* name_of(Quantization kind) {
  return kind == Quantization::Int8 ? "int8" : kind == Quantization::Nf4 ? "nf4" : "none";
}

Quantization parse_quantization(const std::string& name) {
  for (const Quantization kind : {Quantization::None, Quantization::Int8, Quantization::Nf4})
    if (name == name_of(kind)) return kind;
  fail("E_OPTION", "unknown quantization \"", name, "\"; expected none, int8 or nf4");
}

void quantize(const QuantizedMatrix& to, Tensor values) {
  const OpCheck check("quantize", "values", values);
  check.main(2, Types::Float);
  check.on_cpu();
  require(to.kind != Quantization::None && values.shape[0] == to.n && values.shape[1] == to.k, "E_SHAPE",
          "quantize: values ", values, " do not fit a ", name_of(to.kind), " matrix (", to.n, ", ", to.k, ")");
  const Device& device = *values.device;
  VLM2VEC_KERNELS(device.isa(), quantize_kernels).quantize(to, values.data, values.dtype, device.threads());
}

void dequantize(Tensor to, const QuantizedMatrix& from, int64_t first_row) {
  const OpCheck check("dequantize", "to", to);
  check.main(2, Types::Float);
  check.on_cpu();
  require(
      from.kind != Quantization::None && to.shape[1] == from.k && first_row >= 0 && first_row + to.shape[0] <= from.n,
      "E_SHAPE", "dequantize: rows ", first_row, " on, ", to, ", are not in a ", name_of(from.kind), " matrix (",
      from.n, ", ", from.k, ")");
  const Device& device = *to.device;
  VLM2VEC_KERNELS(device.isa(), quantize_kernels)
      .dequantize(to.data, to.dtype, from, first_row, to.shape[0], device.threads());
}

}  // namespace vlm2vec
