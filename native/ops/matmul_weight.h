// What a Weight holds (ops/matmul.h), for the files of matmul.
#pragma once
#include "ops/matmul.h"
#include "ops/matmul_dnnl.h"
#include "ops/matmul_int8_kernels.h"
#include "ops/matmul_kernels.h"

namespace vlm2vec {

// One reordered copy. Its memory is kept when the values change.
struct WeightCopy {
  Device* device = nullptr;
  void* data = nullptr;
  size_t bytes = 0;
  bool current = false;

  WeightCopy() = default;
  WeightCopy(const WeightCopy&) = delete;
  WeightCopy& operator=(const WeightCopy&) = delete;
  ~WeightCopy() { release(); }
  void* reserve(Device& where, size_t size);
  void release();
};

struct Weight::Packed {
  Use use = Use::Packed;
  // For each of X·Wᵀ and dY·W: oneDNN's copy, and our own, made only where oneDNN is not used.
  WeightCopy dnnl[2], own[2];
  bool turned = false;     // oneDNN's second copy is made out of the first; the values are not needed
  QuantizedMatrix matrix;  // kind None: the values are read
  WeightCopy codes, scales;
  WeightCopy whole_numbers;  // packed for products of whole numbers; the codes are then gone
};

const MatmulKernels& matmul_kernels(const Device& device);
const Int8Kernels& int8_kernels(const Device& device);
// The copies, made now if they are not there or stale; one may be good for the next product only.
const void* dnnl_copy(const Weight& weight, DnnlMatmul& dnnl, const dnnl::memory::desc& layout, Product product);
// The weight as the right factor of our own kernels.
RightFactor right_factor(Device& device, const Weight& weight, Product product);
// The same, read where the values lie.
RightFactor plain_factor(const Weight& weight, Product product);

}  // namespace vlm2vec
