#include "ops/matmul_weight.h"

#include "ops/cast.h"
#include "ops/small_work.h"
#include "ops/workspace.h"

namespace vlm2vec {

void* WeightCopy::reserve(Device& where, size_t size) {
  if (!data) {
    data = where.allocate(size);
    device = &where;
    bytes = size;
  }
  return data;
}

void WeightCopy::release() {
  if (data) device->release(data);
  data = nullptr;
  bytes = 0;
  current = false;
}

const MatmulKernels& matmul_kernels(const Device& device) { return VLM2VEC_KERNELS(device.isa(), matmul_kernels); }
const Int8Kernels& int8_kernels(const Device& device) { return VLM2VEC_KERNELS(device.isa(), int8_kernels); }

namespace {

// A second copy that one product makes and reads, unless copies are kept.
struct PassingCopy : Workspace {
  using Workspace::Workspace;
  bool kept = true;
};

void check_values(Tensor values) {
  require(values.rank == 2 && values.dense() && values.rows() > 0 && values.shape[1] > 0 &&
              (values.dtype == DType::F32 || values.dtype == DType::BF16),
          "E_SHAPE", "matmul: weight ", values, " is not a dense f32 or bf16 matrix");
}

}  // namespace

Weight::Weight(Tensor values, Use use) : values_(values), packed_(std::make_unique<Packed>()) {
  check_values(values);
  n_ = values.rows();
  k_ = values.shape[1];
  packed_->use = use;
}

Weight::Weight(Tensor values, Quantization kind) : Weight(values) {
  if (kind == Quantization::None) return;
  Device& device = *values.device;
  require_cpu(device, "a quantized matrix product");
  QuantizedMatrix& matrix = packed_->matrix;
  matrix.kind = kind;
  matrix.n = n_;
  matrix.k = k_;
  matrix.codes = packed_->codes.reserve(device, matrix.code_bytes());
  matrix.scales = static_cast<float*>(packed_->scales.reserve(device, size_t(matrix.scale_count()) * sizeof(float)));
  quantize(matrix, values);
  values_ = {};
}

Weight::Weight() = default;
Weight::Weight(Weight&&) noexcept = default;
Weight& Weight::operator=(Weight&&) noexcept = default;
Weight::~Weight() = default;

bool Weight::quantized() const { return packed_->matrix.kind != Quantization::None; }

void Weight::read_rows(Tensor to, int64_t first) const {
  if (quantized()) {
    require(packed_->matrix.codes, "E_INTERNAL", "matmul: the codes of this weight are packed for whole numbers");
    return dequantize(to, packed_->matrix, first);
  }
  cast(to, values_.slice(first, to.rows()));
}

void Weight::invalidate() {
  for (int i = 0; i < 2; ++i) packed_->dnnl[i].current = packed_->own[i].current = false;
}

size_t Weight::packed_bytes() const {
  size_t bytes = packed_->codes.bytes + packed_->scales.bytes + packed_->whole_numbers.bytes;
  for (int i = 0; i < 2; ++i) bytes += packed_->dnnl[i].bytes + packed_->own[i].bytes;
  return bytes;
}

bool Weight::pack(bool backward) {
  if (quantized()) {
    if (packed_->matrix.kind == Quantization::Int8 && int8_kernels(*packed_->codes.device).fast()) pack_whole_numbers();
    return true;
  }
  if (packed_->use == Use::InPlace) return false;
  Device& device = *values_.device;
  if (device.is_cuda()) return false;
  auto& dnnl = device.state<DnnlMatmul>();
  const auto packs = [&](Product product) {
    const auto* layout = dnnl.packed_layout(product, n(), k(), values_.dtype);
    if (!layout) return right_factor(device, *this, product).kind == RightFactor::Kind::Packed;
    dnnl_copy(*this, dnnl, *layout, product);
    return true;
  };
  if (!packs(Product::Forward)) return false;
  packed_->turned = backward && dnnl.turns(n(), k(), values_.dtype);
  return !backward || packed_->turned || packs(Product::BackwardX);
}

void keep_turned_copies(Device& device, bool keep) { device.state<PassingCopy>().kept = keep; }

PackedCopies packed_copies(Device& device, DType type, int64_t n, int64_t k) {
  auto& dnnl = device.state<DnnlMatmul>();
  const auto bytes = [&](Product product, int64_t columns, int64_t depth) {
    if (const auto* layout = dnnl.packed_layout(product, n, k, type)) return layout->get_size();
    return type == DType::BF16 ? 0 : matmul_kernels(device).packed_bytes(columns, depth);
  };
  return {bytes(Product::Forward, n, k), bytes(Product::BackwardX, k, n), dnnl.turns(n, k, type)};
}

void Weight::pack_whole_numbers() {
  if (packed_->whole_numbers.current) return;
  require(packed_->matrix.kind == Quantization::Int8, "E_INTERNAL", "matmul: a weight that is not int8 was packed so");
  Device& device = *packed_->codes.device;
  const Int8Kernels& kernel = int8_kernels(device);
  kernel.pack(packed_->whole_numbers.reserve(device, kernel.packed_bytes(n_, k_)), packed_->matrix, device.threads());
  packed_->whole_numbers.current = true;
  packed_->codes.release();
  packed_->matrix.codes = nullptr;
}

const void* dnnl_copy(const Weight& weight, DnnlMatmul& dnnl, const dnnl::memory::desc& layout, Product product) {
  const Tensor& w = weight.values();
  Device& device = *w.device;
  WeightCopy& copy = weight.packed().dnnl[int(product)];
  if (product == Product::BackwardX && weight.packed().turned) {
    if (copy.current) return copy.data;
    PassingCopy& passing = device.state<PassingCopy>();
    void* to = passing.kept ? copy.reserve(device, layout.get_size()) : passing.reserve(layout.get_size());
    matmul_kernels(device).turn(to, weight.packed().dnnl[int(Product::Forward)].data, weight.n(), weight.k(), w.dtype,
                                threads_for(device, 64 * weight.n() * weight.k()));
    copy.current = passing.kept;
    return to;
  }
  copy.reserve(device, layout.get_size());
  if (!copy.current) dnnl.pack(copy.data, layout, product, w.data, weight.n(), weight.k(), w.dtype);
  copy.current = true;
  return copy.data;
}

RightFactor plain_factor(const Weight& weight, Product product) {
  RightFactor right;
  right.kind = RightFactor::Kind::Plain;
  right.data = weight.values().data;
  right.type = weight.values().dtype;
  right.transposed = product == Product::Forward;
  right.n = weight.n();
  right.k = weight.k();
  return right;
}

RightFactor right_factor(Device& device, const Weight& weight, Product product) {
  const Weight::Packed& packed = weight.packed();
  RightFactor right = plain_factor(weight, product);
  if (weight.quantized()) {
    require(packed.matrix.codes, "E_INTERNAL", "matmul: the codes of this weight are packed for whole numbers");
    right.kind = packed.matrix.kind == Quantization::Int8 ? RightFactor::Kind::Int8 : RightFactor::Kind::Nf4;
    right.data = packed.matrix.codes;
    right.scales = packed.matrix.scales;
    return right;
  }
  const Tensor& w = weight.values();
  if (packed.use == Weight::Use::InPlace || w.dtype == DType::BF16) return right;
  const MatmulKernels& kernel = matmul_kernels(device);
  WeightCopy& copy = weight.packed().own[int(product)];
  copy.reserve(device, kernel.packed_bytes(right.columns(), right.depth()));
  if (!copy.current)
    kernel.pack(static_cast<float*>(copy.data), w.data, weight.n(), weight.k(), right.transposed, device.threads());
  right.kind = RightFactor::Kind::Packed;
  copy.current = true;
  right.data = copy.data;
  return right;
}

}  // namespace vlm2vec
