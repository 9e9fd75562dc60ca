// oneDNN's matrix products, made once for each size. Only its `brg:*` implementations are taken: others (`gemm:jit`)
// give a row other bits in another batch.
#pragma once
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <tuple>

#include "core/device.h"

namespace vlm2vec {

enum class Product { Forward, BackwardX, BackwardWeight };  // of matmul.h: X·Wᵀ, dY·W, dYᵀ·X

struct ProductSizes {
  Product product;
  int64_t m, n, k;
  DType type, out_type;
  bool accumulate, bias;
};

struct ProductBuffers {
  void* out;
  const void *x, *weight;  // weight: packed; for BackwardWeight, (out, x, weight) are (dW, dY, X)
  const float* bias;
};

class DnnlMatmul {
 public:
  explicit DnnlMatmul(Device& device);

  // The layout of the packed weight, the same for every M; null where oneDNN is to be left alone.
  const dnnl::memory::desc* packed_layout(Product product, int64_t n, int64_t k, DType type);
  // Whether the copies of a weight (n, k) for both directions are made of the same blocks, each turned (MatmulKernels).
  bool turns(int64_t n, int64_t k, DType type);
  // weight (n, k) at any address.
  void pack(void* packed, const dnnl::memory::desc& layout, Product product, const void* weight, int64_t n, int64_t k,
            DType type);
  // Whether `run` will compute this.
  bool can(const ProductSizes& sizes);
  // False if there is no such primitive; nothing is computed then.
  bool run(const ProductSizes& sizes, const ProductBuffers& buffers);

  // Tests set this to run our own kernels where oneDNN would be taken.
  bool disabled = false;

 private:
  struct Primitive {
    dnnl::matmul matmul;
    dnnl::matmul::primitive_desc description;
  };
  using Key = std::tuple<Product, int64_t, int64_t, int64_t, DType, DType, bool, bool>;

  const Primitive* find(const ProductSizes& sizes);
  std::unique_ptr<Primitive> make(const ProductSizes& sizes, const dnnl::memory::desc* packed);

  Device& device_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Key, std::unique_ptr<Primitive>> primitives_;  // null: refused
  std::map<std::tuple<Product, int64_t, int64_t, DType>, std::unique_ptr<dnnl::memory::desc>> layouts_;
};

}  // namespace vlm2vec
