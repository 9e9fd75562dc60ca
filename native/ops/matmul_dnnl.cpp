#include "ops/matmul_dnnl.h"

#include <omp.h>

#include <cstring>

#include "ops/small_work.h"
#include "ops/workspace.h"

namespace vlm2vec {

namespace {

using Layout = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;

// Making one takes about 0.2 ms: when lengths vary without end, starting over is cheaper than keeping all.
constexpr size_t kMaxPrimitives = 4096;

dnnl::memory::data_type type_of(DType type) {
  return type == DType::BF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

// Left to choose, oneDNN (2.6) fills up to 64 columns; adapters have few, and are as fast in blocks that fit them.
Layout weight_layout(int64_t depth, int64_t columns, DType type) {
  const bool pairs = type == DType::BF16;
  const Tag tag = columns <= 16   ? (pairs ? Tag::BA16a16b2a : Tag::BA16a16b)
                  : columns <= 32 ? (pairs ? Tag::BA16a32b2a : Tag::BA16a32b)
                  : columns <= 48 ? (pairs ? Tag::BA16a48b2a : Tag::BA16a48b)
                                  : Tag::any;
  return Layout({depth, columns}, type_of(type), tag);
}

// Sizes of the product as oneDNN sees it: (rows, depth) x (depth, columns).
struct Extent {
  int64_t rows, depth, columns;
};

Extent extent_of(const ProductSizes& sizes) {
  switch (sizes.product) {
    case Product::Forward: return {sizes.m, sizes.k, sizes.n};
    case Product::BackwardX: return {sizes.m, sizes.n, sizes.k};
    case Product::BackwardWeight: return {sizes.n, sizes.m, sizes.k};
  }
  return {};
}

// Whether oneDNN keeps to what we compute with. Above all it must not use AMX: with its tiles it gives a row other bits
// in another batch (2.6 on Sapphire Rapids, bf16). It can be told only before anything else uses it.
bool keeps_to_our_isa() {
  static const bool kept = [] {
    const bool bf16 = detect_isa() == Isa::Avx512Bf16;
    dnnl::set_max_cpu_isa(bf16 ? dnnl::cpu_isa::avx512_core_bf16 : dnnl::cpu_isa::avx512_core_vnni);
    return dnnl::get_effective_cpu_isa() != dnnl::cpu_isa::avx512_core_amx;
  }();
  return kept;
}

}  // namespace

// oneDNN always uses the best instruction set of the machine; a device of a lesser one runs our kernels.
DnnlMatmul::DnnlMatmul(Device& device)
    : disabled(!keeps_to_our_isa() || device.isa() != detect_isa()),
      device_(device),
      engine_(dnnl::engine::kind::cpu, 0),
      stream_(engine_) {}

std::unique_ptr<DnnlMatmul::Primitive> DnnlMatmul::make(const ProductSizes& sizes, const Layout* packed) {
  const Extent e = extent_of(sizes);
  const bool backward_weight = sizes.product == Product::BackwardWeight;
  const auto type = type_of(sizes.type);
  const Layout x({e.rows, e.depth}, type, backward_weight ? Tag::ba : Tag::ab);
  const Layout weight = packed            ? *packed
                        : backward_weight ? Layout({e.depth, e.columns}, type, Tag::ab)
                                          : weight_layout(e.depth, e.columns, sizes.type);
  const Layout out({e.rows, e.columns}, type_of(sizes.out_type), Tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (sizes.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  try {
    const dnnl::matmul::desc operation =
        sizes.bias ? dnnl::matmul::desc(x, weight, Layout({1, e.columns}, dnnl::memory::data_type::f32, Tag::ab), out)
                   : dnnl::matmul::desc(x, weight, out);
    dnnl::matmul::primitive_desc description(operation, attributes, engine_);
    if (std::strncmp(description.impl_info_str(), "brg:", 4) != 0) return nullptr;
    return std::make_unique<Primitive>(Primitive{dnnl::matmul(description), description});
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) fail("E_INTERNAL", "matmul: oneDNN: ", error.what());
    return nullptr;
  }
}

const Layout* DnnlMatmul::packed_layout(Product product, int64_t n, int64_t k, DType type) {
  if (disabled) return nullptr;
  auto [place, absent] = layouts_.try_emplace({product, n, k, type});
  if (absent) {
    omp_set_num_threads(device_.threads());
    // oneDNN chooses the layout from n, k and the type; a few M are asked so that a shape is refused as a whole
    for (int64_t m : {256, 1, 37}) {
      const auto primitive = make({product, m, n, k, type, DType::F32, false, false}, place->second.get());
      if (!primitive) {
        place->second.reset();
        break;
      }
      if (!place->second) place->second = std::make_unique<Layout>(primitive->description.weights_desc());
    }
  }
  return place->second.get();
}

bool DnnlMatmul::turns(int64_t n, int64_t k, DType type) {
  if (n % 64 != 0 || k % 64 != 0) return false;
  const Layout *forward = packed_layout(Product::Forward, n, k, type),
               *backward = packed_layout(Product::BackwardX, n, k, type);
  const Tag tag = type == DType::BF16 ? Tag::BA16a64b2a : Tag::BA16a64b;
  return forward && backward && *forward == Layout({k, n}, type_of(type), tag) &&
         *backward == Layout({n, k}, type_of(type), tag);
}

void DnnlMatmul::pack(void* packed, const Layout& layout, Product product, const void* weight, int64_t n, int64_t k,
                      DType type) {
  omp_set_num_threads(device_.threads());
  if (reinterpret_cast<uintptr_t>(weight) % size_of(type) != 0) {  // oneDNN wants whole numbers' addresses
    void* copy = device_.state<Workspace>().reserve(size_t(n * k) * size_of(type));
    std::memcpy(copy, weight, size_t(n * k) * size_of(type));
    weight = copy;
  }
  const Layout plain =
      product == Product::Forward ? Layout({k, n}, type_of(type), Tag::ba) : Layout({n, k}, type_of(type), Tag::ab);
  dnnl::memory from(plain, engine_, const_cast<void*>(weight)), to(layout, engine_, packed);
  try {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  } catch (const dnnl::error& error) {
    fail("E_INTERNAL", "matmul: oneDNN cannot pack a weight (", n, ", ", k, ") ", name_of(type), ": ", error.what());
  }
}

const DnnlMatmul::Primitive* DnnlMatmul::find(const ProductSizes& s) {
  const Key key{s.product, s.m, s.n, s.k, s.type, s.out_type, s.accumulate, s.bias};
  const auto found = primitives_.find(key);
  if (found != primitives_.end()) return found->second.get();
  if (primitives_.size() >= kMaxPrimitives) primitives_.clear();
  const Layout* layout = s.product == Product::BackwardWeight ? nullptr : packed_layout(s.product, s.n, s.k, s.type);
  if (!layout && s.product != Product::BackwardWeight) return nullptr;
  return (primitives_[key] = make(s, layout)).get();
}

bool DnnlMatmul::can(const ProductSizes& sizes) {
  if (disabled) return false;
  omp_set_num_threads(threads_for(device_, sizes.m * sizes.n * sizes.k));
  return find(sizes) != nullptr;
}

bool DnnlMatmul::run(const ProductSizes& sizes, const ProductBuffers& buffers) {
  if (disabled) return false;
  // a primitive is made for a number of threads: the same for the same sizes
  omp_set_num_threads(threads_for(device_, sizes.m * sizes.n * sizes.k));
  const Primitive* primitive = find(sizes);
  if (!primitive) return false;
  const auto& d = primitive->description;
  const auto memory = [this](const Layout& layout, const void* data) {
    return dnnl::memory(layout, engine_, const_cast<void*>(data));
  };
  std::unordered_map<int, dnnl::memory> arguments = {{DNNL_ARG_SRC, memory(d.src_desc(), buffers.x)},
                                                     {DNNL_ARG_WEIGHTS, memory(d.weights_desc(), buffers.weight)},
                                                     {DNNL_ARG_DST, memory(d.dst_desc(), buffers.out)}};
  if (sizes.bias) arguments.emplace(DNNL_ARG_BIAS, memory(d.bias_desc(), buffers.bias));
  void* scratch = device_.state<Workspace>().reserve(d.scratchpad_desc().get_size());
  arguments.emplace(DNNL_ARG_SCRATCHPAD, memory(d.scratchpad_desc(), scratch));
  try {
    primitive->matmul.execute(stream_, arguments);
    stream_.wait();
  } catch (const dnnl::error& error) {
    fail("E_INTERNAL", "matmul: oneDNN: ", error.what());
  }
  return true;
}

}  // namespace vlm2vec
