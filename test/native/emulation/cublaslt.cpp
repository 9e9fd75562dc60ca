// The emulated cuBLASLt: column-major products by the definition, with the library's rules on sizes, types and alignment.
#include "core/cuda_blas.h"

struct EmulatedHandle {};
struct EmulatedDesc {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct EmulatedLayout {
  cudaDataType_t type;
  int64_t rows, columns, stride;
};
struct EmulatedPreference {
  uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace {

using vlm2vec::bf16;

float load(const void* data, cudaDataType_t type, int64_t i) {
  return type == CUDA_R_16BF ? to_float(static_cast<const bf16*>(data)[i]) : static_cast<const float*>(data)[i];
}

void store(void* data, cudaDataType_t type, int64_t i, float value) {
  if (type == CUDA_R_16BF) static_cast<bf16*>(data)[i] = vlm2vec::to_bf16(value);
  else static_cast<float*>(data)[i] = value;
}

// op(x)(row, column), x column-major
float element(const void* data, const EmulatedLayout& x, cublasOperation_t op, int64_t row, int64_t column) {
  return load(data, x.type, op == CUBLAS_OP_N ? column * x.stride + row : row * x.stride + column);
}

bool fits(const EmulatedDesc& p, const EmulatedLayout& a, const EmulatedLayout& b, const EmulatedLayout& d) {
  const int64_t a_rows = p.a == CUBLAS_OP_N ? a.rows : a.columns, a_columns = p.a == CUBLAS_OP_N ? a.columns : a.rows;
  const int64_t b_rows = p.b == CUBLAS_OP_N ? b.rows : b.columns, b_columns = p.b == CUBLAS_OP_N ? b.columns : b.rows;
  return a_rows == d.rows && b_columns == d.columns && a_columns == b_rows && a.type == b.type && a_columns > 0;
}

template <typename T>
cublasStatus_t destroy(T* handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
bool take(T& to, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return false;
  std::memcpy(&to, value, bytes);
  return true;
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return *handle = new EmulatedHandle, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return destroy(handle); }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INVALID_VALUE";
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* p, cublasComputeType_t, cudaDataType_t) {
  return *p = new EmulatedDesc, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t p) { return destroy(p); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t p, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const bool taken = attribute == CUBLASLT_MATMUL_DESC_TRANSA         ? take(p->a, value, bytes)
                     : attribute == CUBLASLT_MATMUL_DESC_TRANSB       ? take(p->b, value, bytes)
                     : attribute == CUBLASLT_MATMUL_DESC_EPILOGUE     ? take(p->epilogue, value, bytes)
                     : attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? take(p->bias, value, bytes)
                                                                      : false;
  return taken ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* x, cudaDataType_t type, uint64_t rows, uint64_t columns,
                                          int64_t stride) {
  if (rows == 0 || columns == 0 || stride < int64_t(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *x = new EmulatedLayout{type, int64_t(rows), int64_t(columns), stride};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t x) { return destroy(x); }
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return *preference = new EmulatedPreference, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) { return destroy(preference); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  uint64_t size;
  uint32_t mask;
  const int matrix = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
  const bool taken = attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES     ? take(size, value, bytes)
                     : attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK ? take(mask, value, bytes)
                     : matrix >= 0 && matrix < 4 ? take(preference->alignment[matrix], value, bytes)
                                                 : false;
  return taken ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t p, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* best, int* found) {
  *found = 0;
  if (wanted < 1 || !fits(*p, *a, *b, *d)) return CUBLAS_STATUS_INVALID_VALUE;
  // the library refuses a fused bias for some narrow shapes; which ones is its secret
  if (p->epilogue == CUBLASLT_EPILOGUE_BIAS && (d->rows == 1 || !p->bias)) return CUBLAS_STATUS_NOT_SUPPORTED;
  *best = {};
  for (int i = 0; i < 4; ++i) best->algo.data[i] = preference->alignment[i];
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t p, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t, cudaStream_t stream) {
  const void* places[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i)
    if (reinterpret_cast<uintptr_t>(places[i]) % algorithm->data[i] != 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (!workspace || !stream || c != d || c_layout != d_layout) return CUBLAS_STATUS_INVALID_VALUE;
  const bool with_bias = p->epilogue == CUBLASLT_EPILOGUE_BIAS;
  if (with_bias && reinterpret_cast<uintptr_t>(p->bias) % 16 != 0) return CUBLAS_STATUS_INVALID_VALUE;
  const int64_t depth = p->a == CUBLAS_OP_N ? a_layout->columns : a_layout->rows;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  for (int64_t column = 0; column < d_layout->columns; ++column)
    for (int64_t row = 0; row < d_layout->rows; ++row) {
      double sum = 0;
      for (int64_t i = 0; i < depth; ++i)
        sum += double(element(a, *a_layout, p->a, row, i)) * double(element(b, *b_layout, p->b, i, column));
      float value = scale * float(sum);
      const int64_t place = column * d_layout->stride + row;
      if (keep != 0) value += keep * load(c, d_layout->type, place);
      if (with_bias) value += load(p->bias, d_layout->type, row);
      store(d, d_layout->type, place, value);
    }
  return CUBLAS_STATUS_SUCCESS;
}

namespace vlm2vec {

const CudaBlasFunctions& cuda_blas_functions() {
  static const CudaBlasFunctions functions = {cublasLtCreate,
                                              cublasLtDestroy,
                                              cublasLtGetStatusName,
                                              cublasLtMatmulDescCreate,
                                              cublasLtMatmulDescDestroy,
                                              cublasLtMatmulDescSetAttribute,
                                              cublasLtMatrixLayoutCreate,
                                              cublasLtMatrixLayoutDestroy,
                                              cublasLtMatmulPreferenceCreate,
                                              cublasLtMatmulPreferenceDestroy,
                                              cublasLtMatmulPreferenceSetAttribute,
                                              cublasLtMatmulAlgoGetHeuristic,
                                              cublasLtMatmul};
  return functions;
}

}  // namespace vlm2vec
