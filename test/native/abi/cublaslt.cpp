// core/cuda_blas_api.h against NVIDIA's header: compiled where a build finds cublasLt.h.
#include <cublasLt.h>

#include <type_traits>

#include "core/cuda_blas_api.h"

namespace vlm2vec::blas {

static_assert(int(kSuccess) == CUBLAS_STATUS_SUCCESS && int(kInvalidValue) == CUBLAS_STATUS_INVALID_VALUE &&
              int(kNotSupported) == CUBLAS_STATUS_NOT_SUPPORTED && sizeof(Status) == sizeof(cublasStatus_t));
static_assert(int(kAsItLies) == CUBLAS_OP_N && int(kTransposed) == CUBLAS_OP_T &&
              sizeof(Operation) == sizeof(cublasOperation_t));
static_assert(int(kComputeF32) == CUBLAS_COMPUTE_32F && sizeof(ComputeType) == sizeof(cublasComputeType_t));
static_assert(int(kEpilogueDefault) == CUBLASLT_EPILOGUE_DEFAULT && int(kEpilogueBias) == CUBLASLT_EPILOGUE_BIAS &&
              sizeof(Epilogue) == sizeof(cublasLtEpilogue_t));
static_assert(int(kReduceInComputeType) == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
static_assert(int(kTransposeA) == CUBLASLT_MATMUL_DESC_TRANSA && int(kTransposeB) == CUBLASLT_MATMUL_DESC_TRANSB &&
              int(kEpilogue) == CUBLASLT_MATMUL_DESC_EPILOGUE &&
              int(kBiasPointer) == CUBLASLT_MATMUL_DESC_BIAS_POINTER &&
              sizeof(ProductAttribute) == sizeof(cublasLtMatmulDescAttributes_t));
static_assert(int(kMaxWorkspaceBytes) == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
              int(kReductionSchemeMask) == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK &&
              int(kMinAlignmentA) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
              int(kMinAlignmentB) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              int(kMinAlignmentC) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES &&
              int(kMinAlignmentD) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES &&
              sizeof(PreferenceAttribute) == sizeof(cublasLtMatmulPreferenceAttributes_t));
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t) && alignof(Algorithm) == alignof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Choice) == sizeof(cublasLtMatmulHeuristicResult_t) &&
              offsetof(Choice, workspace_bytes) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
              offsetof(Choice, state) == offsetof(cublasLtMatmulHeuristicResult_t, state) &&
              offsetof(Choice, waves) == offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));

// Ours stands for the library's type where both are pointers to what we never look into, or enumerations or structs
// whose sizes are compared above; all else must be the same.
template <typename Ours, typename Theirs>
constexpr bool kFits = std::is_same_v<Ours, Theirs> || (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>) ||
                       (std::is_enum_v<Ours> && std::is_enum_v<Theirs> && sizeof(Ours) == sizeof(Theirs));

template <typename Ours, typename Theirs>
struct Same : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
struct Same<R (*)(A...), S (*)(B...)> {
  static constexpr bool same() {
    if constexpr (sizeof...(A) == sizeof...(B))
      return kFits<R, S> && (kFits<A, B> && ...);
    else
      return false;
  }
  static constexpr bool value = same();
};

#define SAME(name) static_assert(Same<decltype(Functions::name), decltype(&cublasLt##name)>::value, #name)
SAME(Create);
SAME(Destroy);
SAME(GetStatusName);
SAME(MatmulDescCreate);
SAME(MatmulDescDestroy);
SAME(MatmulDescSetAttribute);
SAME(MatrixLayoutCreate);
SAME(MatrixLayoutDestroy);
SAME(MatmulPreferenceCreate);
SAME(MatmulPreferenceDestroy);
SAME(MatmulPreferenceSetAttribute);
SAME(MatmulAlgoGetHeuristic);
SAME(Matmul);

}  // namespace vlm2vec::blas
