// The part of cuBLASLt's binary interface that is used, declared here because the library is loaded at run time:
// building needs no cuBLAS package. The same from version 11 on. test/native/abi/cublaslt.cpp compares it with NVIDIA's
// header where a build finds one. https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace vlm2vec::blas {

enum Status : int { kSuccess = 0, kInvalidValue = 7, kNotSupported = 15 };
enum Operation : int { kAsItLies = 0, kTransposed = 1 };
enum ComputeType : int { kComputeF32 = 68 };
enum Epilogue : int { kEpilogueDefault = 1, kEpilogueBias = 4 };
enum ReductionScheme : uint32_t { kReduceInComputeType = 2 };
enum ProductAttribute : int { kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum PreferenceAttribute : int {
  kMaxWorkspaceBytes = 1,
  kReductionSchemeMask = 3,
  kMinAlignmentA = 5,
  kMinAlignmentB = 6,
  kMinAlignmentC = 7,
  kMinAlignmentD = 8
};

using Handle = struct HandleContents*;
using ProductDescription = struct ProductContents*;
using Layout = struct LayoutContents*;
using Preference = struct PreferenceContents*;

struct Algorithm {
  uint64_t data[8];
};
struct Choice {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

// The functions by their names without `cublasLt`.
struct Functions {
  Status (*Create)(Handle*);
  Status (*Destroy)(Handle);
  const char* (*GetStatusName)(Status);
  Status (*MatmulDescCreate)(ProductDescription*, ComputeType, cudaDataType_t scale);
  Status (*MatmulDescDestroy)(ProductDescription);
  Status (*MatmulDescSetAttribute)(ProductDescription, ProductAttribute, const void* value, size_t bytes);
  // column-major, columns `stride` elements apart
  Status (*MatrixLayoutCreate)(Layout*, cudaDataType_t, uint64_t rows, uint64_t columns, int64_t stride);
  Status (*MatrixLayoutDestroy)(Layout);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, PreferenceAttribute, const void* value, size_t bytes);
  Status (*MatmulAlgoGetHeuristic)(Handle, ProductDescription, Layout a, Layout b, Layout c, Layout d, Preference,
                                   int wanted, Choice*, int* found);
  // d = alpha op(a) op(b) + beta c, epilogue applied
  Status (*Matmul)(Handle, ProductDescription, const void* alpha, const void* a, Layout, const void* b, Layout,
                   const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*, void* workspace,
                   size_t workspace_bytes, cudaStream_t);
};

}  // namespace vlm2vec::blas
