#include "ops/matmul.h"

#include "ops/matmul_dnnl.h"
#include "ops/matmul_kernels.h"
#include "ops/small_work.h"
#include "ops/workspace.h"

namespace vlm2vec {

namespace cuda {
void matmul_forward(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate);
void matmul_backward_x(Tensor dx, Tensor dout, const Weight& weight, bool accumulate);
void matmul_backward_weight(Tensor dweight, Tensor dbias, Tensor dout, Tensor x);
}  // namespace cuda

// ---------------------------------------------------------------------------------------------------------------------
// Packed weights

namespace {

// One reordered copy. Its memory is kept when the values change.
struct Copy {
  Device* device = nullptr;
  void* data = nullptr;
  size_t bytes = 0;
  bool current = false;

  Copy() = default;
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  ~Copy() {
    if (data) device->release(data);
  }
  void* reserve(Device& where, size_t size) {
    if (!data) {
      data = where.allocate(size);
      device = &where;
      bytes = size;
    }
    return data;
  }
};

const MatmulKernels& kernels(const Device& device) { return VLM2VEC_KERNELS(device.isa(), matmul_kernels); }

}  // namespace

// For each of X·Wᵀ and dY·W: oneDNN's copy, and our own, made only where oneDNN is not used.
struct Weight::Packed {
  Copy dnnl[2], own[2];
};

Weight::Weight(Tensor values) : values_(values), packed_(std::make_unique<Packed>()) {
  require(values.rank == 2 && values.dense() && values.rows() > 0 && values.shape[1] > 0 &&
              (values.dtype == DType::F32 || values.dtype == DType::BF16),
          "E_SHAPE", "matmul: weight ", values, " is not a dense f32 or bf16 matrix");
}
Weight::Weight() = default;
Weight::Weight(Weight&&) noexcept = default;
Weight& Weight::operator=(Weight&&) noexcept = default;
Weight::~Weight() = default;

void Weight::invalidate() {
  for (int i = 0; i < 2; ++i) packed_->dnnl[i].current = packed_->own[i].current = false;
}

size_t Weight::packed_bytes() const {
  size_t bytes = 0;
  for (int i = 0; i < 2; ++i) bytes += packed_->dnnl[i].bytes + packed_->own[i].bytes;
  return bytes;
}

namespace {

const void* dnnl_copy(const Weight& weight, DnnlMatmul& dnnl, const dnnl::memory::desc& layout, Product product) {
  const Tensor& w = weight.values();
  Copy& copy = weight.packed().dnnl[int(product)];
  copy.reserve(*w.device, layout.get_size());
  if (!copy.current) dnnl.pack(copy.data, layout, product, w.data, weight.n(), weight.k(), w.dtype);
  copy.current = true;
  return copy.data;
}

const void* own_copy(const Weight& weight, Product product) {
  const Tensor& w = weight.values();
  Device& device = *w.device;
  const MatmulKernels& kernel = kernels(device);
  const bool forward = product == Product::Forward;
  Copy& copy = weight.packed().own[int(product)];
  copy.reserve(device,
               kernel.packed_bytes(forward ? weight.n() : weight.k(), forward ? weight.k() : weight.n(), w.dtype));
  if (!copy.current) kernel.pack(copy.data, w.data, weight.n(), weight.k(), w.dtype, forward, device.threads());
  copy.current = true;
  return copy.data;
}

}  // namespace

void Weight::pack() {
  Device& device = *values_.device;
  if (device.is_cuda()) return;
  auto& dnnl = device.state<DnnlMatmul>();
  if (const auto* layout = dnnl.packed_layout(Product::Forward, n(), k(), values_.dtype))
    dnnl_copy(*this, dnnl, *layout, Product::Forward);
  else
    own_copy(*this, Product::Forward);
}

// ---------------------------------------------------------------------------------------------------------------------
// Products

namespace {

bool is_number(DType type) { return type == DType::F32 || type == DType::BF16; }

void check_matrix(const char* op, const char* name, Tensor x) {
  require(x.rank == 2 && x.dense() && is_number(x.dtype), "E_SHAPE", op, ": ", name, " ", x,
          " is not a dense f32 or bf16 matrix");
}

// out = or += x · packed weight, on the CPU
void multiply_by_weight(Product product, Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate) {
  if (x.rows() == 0) return;
  Device& device = *x.device;
  auto& dnnl = device.state<DnnlMatmul>();
  const float* bias_data = bias ? bias.as<float>() : nullptr;
  const ProductSizes sizes = {product, x.rows(), weight.n(), weight.k(), x.dtype, out.dtype, accumulate, bool(bias)};
  if (const auto* layout = dnnl.packed_layout(product, weight.n(), weight.k(), x.dtype))
    if (dnnl.run(sizes, {out.data, x.data, dnnl_copy(weight, dnnl, *layout, product), bias_data})) return;
  PackedProduct own = {out.data,
                       x.data,
                       own_copy(weight, product),
                       bias_data,
                       x.rows(),
                       out.shape[1],
                       x.shape[1],
                       x.dtype,
                       out.dtype,
                       accumulate,
                       threads_for(device, x.rows() * weight.n() * weight.k()),
                       nullptr};
  const MatmulKernels& kernel = kernels(device);
  own.scratch = static_cast<float*>(device.state<Workspace>().reserve(kernel.scratch_bytes(own)));
  kernel.multiply(own);
}

}  // namespace

void matmul_forward(Tensor out, Tensor x, const Weight& weight, Tensor bias, bool accumulate) {
  const Tensor& w = weight.values();
  check_matrix("matmul_forward", "x", x);
  check_matrix("matmul_forward", "out", out);
  require(x.dtype == w.dtype && x.shape[1] == weight.k(), "E_SHAPE", "matmul_forward: x ", x, " does not match weight ",
          w);
  require(out.rows() == x.rows() && out.shape[1] == weight.n(), "E_SHAPE", "matmul_forward: out ", out,
          " does not match x ", x, " and weight ", w);
  require(!bias || (bias.rank == 1 && bias.rows() == weight.n() && bias.dtype == DType::F32 && bias.dense()), "E_SHAPE",
          "matmul_forward: bias ", bias, " does not match weight ", w, "; it must be f32");
  require(!accumulate || out.dtype == DType::F32, "E_SHAPE", "matmul_forward: cannot accumulate into out ", out);
  VLM2VEC_DISPATCH_CUDA(*x.device, matmul_forward(out, x, weight, bias, accumulate));
  multiply_by_weight(Product::Forward, out, x, weight, bias, accumulate);
}

void matmul_backward_x(Tensor dx, Tensor dout, const Weight& weight, bool accumulate) {
  const Tensor& w = weight.values();
  check_matrix("matmul_backward_x", "dout", dout);
  check_matrix("matmul_backward_x", "dx", dx);
  require(dout.dtype == w.dtype && dout.shape[1] == weight.n(), "E_SHAPE", "matmul_backward_x: dout ", dout,
          " does not match weight ", w);
  require(dx.rows() == dout.rows() && dx.shape[1] == weight.k(), "E_SHAPE", "matmul_backward_x: dx ", dx,
          " does not match dout ", dout, " and weight ", w);
  require(!accumulate || dx.dtype == DType::F32, "E_SHAPE", "matmul_backward_x: cannot accumulate into dx ", dx);
  VLM2VEC_DISPATCH_CUDA(*dx.device, matmul_backward_x(dx, dout, weight, accumulate));
  multiply_by_weight(Product::BackwardX, dx, dout, weight, Tensor(), accumulate);
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
  const MatmulKernels& kernel = kernels(device);
  if (dbias) kernel.add_column_sums(dbias.as<float>(), dout.data, m, n, dout.dtype, threads_for(device, 16 * m * n));
  const ProductSizes sizes = {Product::BackwardWeight, m, n, k, x.dtype, DType::F32, true, false};
  if (device.state<DnnlMatmul>().run(sizes, {dweight.data, dout.data, x.data, nullptr})) return;
  WeightProduct own = {
      dweight.as<float>(), dout.data, x.data, m, n, k, x.dtype, threads_for(device, m * n * k), nullptr};
  own.scratch = static_cast<float*>(device.state<Workspace>().reserve(kernel.weight_scratch_bytes(own)));
  kernel.multiply_weight(own);
}

}  // namespace vlm2vec
