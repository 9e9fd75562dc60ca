// The emulated cuBLASLt: column-major products by the definition, with the library's rules on sizes, types and
// alignment.
#include "core/cuda_blas.h"

namespace vlm2vec::blas {

struct HandleContents {};
struct ProductContents {
  Operation a = kAsItLies, b = kAsItLies;
  Epilogue epilogue = kEpilogueDefault;
  const void* bias = nullptr;
};
struct LayoutContents {
  cudaDataType_t type;
  int64_t rows, columns, stride;
};
struct PreferenceContents {
  uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace {

float load(const void* data, cudaDataType_t type, int64_t i) {
  return type == CUDA_R_16BF ? to_float(static_cast<const bf16*>(data)[i]) : static_cast<const float*>(data)[i];
}

void store(void* data, cudaDataType_t type, int64_t i, float value) {
  if (type == CUDA_R_16BF)
    static_cast<bf16*>(data)[i] = to_bf16(value);
  else
    static_cast<float*>(data)[i] = value;
}

// op(x)(row, column), x column-major
float element(const void* data, const LayoutContents& x, Operation op, int64_t row, int64_t column) {
  return load(data, x.type, op == kAsItLies ? column * x.stride + row : row * x.stride + column);
}

bool fits(const ProductContents& p, const LayoutContents& a, const LayoutContents& b, const LayoutContents& d) {
  const int64_t a_rows = p.a == kAsItLies ? a.rows : a.columns, a_columns = p.a == kAsItLies ? a.columns : a.rows;
  const int64_t b_rows = p.b == kAsItLies ? b.rows : b.columns, b_columns = p.b == kAsItLies ? b.columns : b.rows;
  return a_rows == d.rows && b_columns == d.columns && a_columns == b_rows && a.type == b.type && a_columns > 0;
}

template <typename T>
Status drop(T* handle) {
  delete handle;
  return kSuccess;
}

template <typename T>
bool take(T& to, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return false;
  std::memcpy(&to, value, bytes);
  return true;
}

Status create(Handle* handle) { return *handle = new HandleContents, kSuccess; }
Status destroy(Handle handle) { return drop(handle); }
const char* get_status_name(Status status) {
  return status == kNotSupported ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INVALID_VALUE";
}
Status matmul_desc_create(ProductDescription* p, ComputeType, cudaDataType_t) {
  return *p = new ProductContents, kSuccess;
}
Status matmul_desc_destroy(ProductDescription p) { return drop(p); }
Status matmul_desc_set_attribute(ProductDescription p, ProductAttribute attribute, const void* value, size_t bytes) {
  const bool taken = attribute == kTransposeA    ? take(p->a, value, bytes)
                     : attribute == kTransposeB  ? take(p->b, value, bytes)
                     : attribute == kEpilogue    ? take(p->epilogue, value, bytes)
                     : attribute == kBiasPointer ? take(p->bias, value, bytes)
                                                 : false;
  return taken ? kSuccess : kInvalidValue;
}
Status matrix_layout_create(Layout* x, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t stride) {
  if (rows == 0 || columns == 0 || stride < int64_t(rows)) return kInvalidValue;
  *x = new LayoutContents{type, int64_t(rows), int64_t(columns), stride};
  return kSuccess;
}
Status matrix_layout_destroy(Layout x) { return drop(x); }
Status matmul_preference_create(Preference* preference) { return *preference = new PreferenceContents, kSuccess; }
Status matmul_preference_destroy(Preference preference) { return drop(preference); }
Status matmul_preference_set_attribute(Preference preference, PreferenceAttribute attribute, const void* value,
                                       size_t bytes) {
  uint64_t size;
  uint32_t mask;
  const int matrix = attribute - kMinAlignmentA;
  const bool taken = attribute == kMaxWorkspaceBytes     ? take(size, value, bytes)
                     : attribute == kReductionSchemeMask ? take(mask, value, bytes)
                     : matrix >= 0 && matrix < 4         ? take(preference->alignment[matrix], value, bytes)
                                                         : false;
  return taken ? kSuccess : kInvalidValue;
}

Status matmul_algo_get_heuristic(Handle, ProductDescription p, Layout a, Layout b, Layout, Layout d,
                                 Preference preference, int wanted, Choice* best, int* found) {
  *found = 0;
  if (wanted < 1 || !fits(*p, *a, *b, *d)) return kInvalidValue;
  // the library refuses a fused bias for some narrow shapes; which ones is its secret
  if (p->epilogue == kEpilogueBias && (d->rows == 1 || !p->bias)) return kNotSupported;
  *best = {};
  for (int i = 0; i < 4; ++i) best->algorithm.data[i] = preference->alignment[i];
  *found = 1;
  return kSuccess;
}

Status matmul(Handle, ProductDescription p, const void* alpha, const void* a, Layout a_layout, const void* b,
              Layout b_layout, const void* beta, const void* c, Layout c_layout, void* d, Layout d_layout,
              const Algorithm* algorithm, void* workspace, size_t, cudaStream_t stream) {
  const void* places[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i)
    if (reinterpret_cast<uintptr_t>(places[i]) % algorithm->data[i] != 0) return kInvalidValue;
  if (!workspace || !stream || c != d || c_layout != d_layout) return kInvalidValue;
  const bool with_bias = p->epilogue == kEpilogueBias;
  if (with_bias && reinterpret_cast<uintptr_t>(p->bias) % 16 != 0) return kInvalidValue;
  const int64_t depth = p->a == kAsItLies ? a_layout->columns : a_layout->rows;
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
  return kSuccess;
}

}  // namespace

}  // namespace vlm2vec::blas

namespace vlm2vec {

const blas::Functions& cuda_blas_functions() {
  static const blas::Functions functions = {
      blas::create,
      blas::destroy,
      blas::get_status_name,
      blas::matmul_desc_create,
      blas::matmul_desc_destroy,
      blas::matmul_desc_set_attribute,
      blas::matrix_layout_create,
      blas::matrix_layout_destroy,
      blas::matmul_preference_create,
      blas::matmul_preference_destroy,
      blas::matmul_preference_set_attribute,
      blas::matmul_algo_get_heuristic,
      blas::matmul,
  };
  return functions;
}

}  // namespace vlm2vec
