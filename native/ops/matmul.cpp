#include "ops/matmul.h"

#include "ops/matmul_weight.h"
#include "ops/small_work.h"
#include "ops/workspace.h"

namespace vlm2vec {

namespace cuda {
void matmul_forward(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate);
void matmul_backward_x(Tensor dx, Tensor dout, const Weight& weight, bool accumulate);
void matmul_backward_weight(Tensor dweight, Tensor dbias, Tensor dout, Tensor x);
}  // namespace cuda

// ---------------------------------------------------------------------------------------------------------------------
// Products

namespace {

bool is_number(DType type) { return type == DType::F32 || type == DType::BF16; }

void check_matrix(const char* op, const char* name, Tensor x) {
  require(x.rank == 2 && x.dense() && is_number(x.dtype), "E_SHAPE", op, ": ", name, " ", x,
          " is not a dense f32 or bf16 matrix");
}

// Whether oneDNN may compute with this weight.
bool takes_dnnl(const Weight& weight) { return !weight.quantized() && weight.packed().use == Weight::Use::Packed; }

// The types that x may have.
void check_types(const char* op, const char* name, Tensor x, const Weight& weight, int64_t width) {
  require((!takes_dnnl(weight) || x.dtype == weight.values().dtype) && x.shape[1] == width, "E_SHAPE", op, ": ", name,
          " ", x, " does not match weight (", weight.n(), ", ", weight.k(), ") ",
          weight.quantized() ? name_of(weight.packed().matrix.kind) : name_of(weight.values().dtype));
}

void multiply_whole_numbers(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate) {
  Device& device = *x.device;
  const Int8Kernels& kernel = int8_kernels(device);
  const Weight::Packed& packed = weight.packed();
  Int8Product product = {out.data,
                         x.data,
                         packed.whole_numbers.data,
                         packed.matrix.scales,
                         bias ? bias.as<float>() : nullptr,
                         x.rows(),
                         weight.n(),
                         weight.k(),
                         x.dtype,
                         out.dtype,
                         accumulate,
                         threads_for(device, x.rows() * weight.n() * weight.k()),
                         nullptr};
  product.scratch = device.state<Workspace>().reserve(kernel.scratch_bytes(product));
  kernel.multiply(product);
}

// Where the products are computed by something that takes one at a time: the low-rank one is written first, so that its
// reading and writing of `out` is all that it costs.
bool write_low_rank(Product product, Tensor out, const LowRank& low_rank, bool accumulate);

// out = or += x · weight + low rank, on the CPU
void multiply_by_weight(Product product, Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate,
                        const LowRank& low_rank) {
  if (x.rows() == 0) return;
  if (product == Product::Forward && weight.packed().whole_numbers.current) {
    accumulate = write_low_rank(product, out, low_rank, accumulate);
    return multiply_whole_numbers(out, x, weight, bias, accumulate);
  }
  Device& device = *x.device;
  const float* bias_data = bias ? bias.as<float>() : nullptr;
  const int64_t n = weight.n(), k = weight.k();
  if (takes_dnnl(weight)) {
    auto& dnnl = device.state<DnnlMatmul>();
    const bool adds = accumulate || low_rank.weight;
    const ProductSizes sizes = {product, x.rows(), n, k, x.dtype, out.dtype, adds, bool(bias)};
    if (dnnl.can(sizes)) {
      write_low_rank(product, out, low_rank, accumulate);
      const auto* layout = dnnl.packed_layout(product, n, k, x.dtype);
      dnnl.run(sizes, {out.data, x.data, dnnl_copy(weight, dnnl, *layout, product), bias_data});
      return;
    }
  }
  PackedProduct own = {out.data,
                       {{x.data, right_factor(device, weight, product)}, {}},
                       bias_data,
                       x.rows(),
                       out.shape[1],
                       x.dtype,
                       out.dtype,
                       accumulate,
                       device.isa() == Isa::Amx,
                       threads_for(device, x.rows() * n * k),
                       nullptr};
  if (low_rank.weight) own.terms[1] = {low_rank.x.data, plain_factor(*low_rank.weight, product)};
  const MatmulKernels& kernel = matmul_kernels(device);
  own.scratch = static_cast<float*>(device.state<Workspace>().reserve(kernel.scratch_bytes(own)));
  kernel.multiply(own);
}

bool write_low_rank(Product product, Tensor out, const LowRank& low_rank, bool accumulate) {
  if (!low_rank.weight) return accumulate;
  multiply_by_weight(product, out, low_rank.x, *low_rank.weight, Tensor(), accumulate, {});
  return true;
}

// u (M, R) beside x (M, .) and a factor (n, k) beside weight (n, k).
void check_low_rank(const char* op, const LowRank& low_rank, Tensor x, int64_t rank, bool fits) {
  if (!low_rank.weight) return;
  check_matrix(op, "the low-rank factor", low_rank.x);
  const Weight& weight = *low_rank.weight;
  require(fits && !weight.quantized() && low_rank.x.rows() == x.rows() && low_rank.x.shape[1] == rank &&
              low_rank.x.dtype == x.dtype && weight.values().dtype == x.dtype,
          "E_SHAPE", op, ": the low-rank product of ", low_rank.x, " and (", weight.n(), ", ", weight.k(),
          ") does not fit x ", x);
}

}  // namespace

void matmul_forward(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate, LowRank low_rank) {
  check_matrix("matmul_forward", "x", x);
  check_matrix("matmul_forward", "out", out);
  check_types("matmul_forward", "x", x, weight, weight.k());
  require(out.rows() == x.rows() && out.shape[1] == weight.n(), "E_SHAPE", "matmul_forward: out ", out,
          " does not match x ", x, " and a weight of ", weight.n(), " rows");
  require(!bias || (bias.rank == 1 && bias.rows() == weight.n() && bias.dtype == DType::F32 && bias.dense()), "E_SHAPE",
          "matmul_forward: bias ", bias, " does not match a weight of ", weight.n(), " rows; it must be f32");
  require(!accumulate || out.dtype == DType::F32, "E_SHAPE", "matmul_forward: cannot accumulate into out ", out);
  if (const Weight* b = low_rank.weight) check_low_rank("matmul_forward", low_rank, x, b->k(), b->n() == weight.n());
#if defined(VLM2VEC_CUDA)
  if (x.device->is_cuda()) {
    if (low_rank.weight) cuda::matmul_forward(out, low_rank.x, *low_rank.weight, Tensor(), accumulate);
    return cuda::matmul_forward(out, x, weight, bias, accumulate || low_rank.weight);
  }
#endif
  multiply_by_weight(Product::Forward, out, x, weight, bias, accumulate, low_rank);
}

void matmul_backward_x(Tensor dx, Tensor dout, const Weight& weight, bool accumulate, LowRank low_rank) {
  check_matrix("matmul_backward_x", "dout", dout);
  check_matrix("matmul_backward_x", "dx", dx);
  check_types("matmul_backward_x", "dout", dout, weight, weight.n());
  require(dx.rows() == dout.rows() && dx.shape[1] == weight.k(), "E_SHAPE", "matmul_backward_x: dx ", dx,
          " does not match dout ", dout, " and a weight of ", weight.k(), " columns");
  require(!accumulate || dx.dtype == DType::F32, "E_SHAPE", "matmul_backward_x: cannot accumulate into dx ", dx);
  if (const Weight* a = low_rank.weight)
    check_low_rank("matmul_backward_x", low_rank, dout, a->n(), a->k() == weight.k());
#if defined(VLM2VEC_CUDA)
  if (dx.device->is_cuda()) {
    if (low_rank.weight) cuda::matmul_backward_x(dx, low_rank.x, *low_rank.weight, accumulate);
    return cuda::matmul_backward_x(dx, dout, weight, accumulate || low_rank.weight);
  }
#endif
  multiply_by_weight(Product::BackwardX, dx, dout, weight, Tensor(), accumulate, low_rank);
}

void matmul_backward_weight(Tensor dweight, Tensor dbias, Tensor dout, Tensor x) {
  check_matrix("matmul_backward_weight", "dout", dout);
  check_matrix("matmul_backward_weight", "x", x);
  require(dout.rows() == x.rows() && dout.dtype == x.dtype, "E_SHAPE", "matmul_backward_weight: dout ", dout,
          " does not match x ", x);
  require(dweight.rank == 2 && dweight.rows() == dout.shape[1] && dweight.shape[1] == x.shape[1] &&
              dweight.dtype == DType::F32 && dweight.dense(),
          "E_SHAPE", "matmul_backward_weight: dweight ", dweight, " does not match dout ", dout, " and x ", x,
          "; it must be f32 and dense");
  require(!dbias || (dbias.rank == 1 && dbias.rows() == dout.shape[1] && dbias.dtype == DType::F32 && dbias.dense()),
          "E_SHAPE", "matmul_backward_weight: dbias ", dbias, " does not match dout ", dout, "; it must be f32");
  VLM2VEC_DISPATCH_CUDA(*x.device, matmul_backward_weight(dweight, dbias, dout, x));
  const int64_t m = x.rows(), n = dout.shape[1], k = x.shape[1];
  if (m == 0 || n == 0 || k == 0) return;
  Device& device = *x.device;
  const MatmulKernels& kernel = matmul_kernels(device);
  if (dbias) kernel.add_column_sums(dbias.as<float>(), dout.data, m, n, dout.dtype, threads_for(device, 16 * m * n));
  const ProductSizes sizes = {Product::BackwardWeight, m, n, k, x.dtype, DType::F32, true, false};
  if (device.state<DnnlMatmul>().run(sizes, {dweight.data, dout.data, x.data, nullptr})) return;
  WeightProduct own = {dweight.as<float>(),
                       dout.data,
                       x.data,
                       m,
                       n,
                       k,
                       x.dtype,
                       device.isa() == Isa::Amx,
                       threads_for(device, m * n * k),
                       nullptr};
  own.scratch = static_cast<float*>(device.state<Workspace>().reserve(kernel.weight_scratch_bytes(own)));
  kernel.multiply_weight(own);
}

}  // namespace vlm2vec
