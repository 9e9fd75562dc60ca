// A view of numbers in memory: it owns nothing and is passed by value. Row-major; only the first dimension may be
// strided (a block of columns of a wider matrix), all others are dense.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "core/dtype.h"
#include "core/error.h"

namespace vlm2vec {

class Device;

constexpr int kMaxRank = 5;

struct Tensor {
  void* data = nullptr;
  DType dtype = DType::F32;
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t row_stride = 0;  // elements from one index of dimension 0 to the next
  Device* device = nullptr;

  Tensor() = default;
  Tensor(Device& where, void* memory, DType type, std::initializer_list<int64_t> sizes)
      : data(memory), dtype(type), rank(int(sizes.size())), device(&where) {
    int i = 0;
    for (int64_t size : sizes) shape[i++] = size;
    row_stride = row_size();
  }

  // An absent optional argument. A tensor with zero rows is not absent.
  bool absent() const { return device == nullptr; }
  explicit operator bool() const { return device != nullptr; }

  int64_t rows() const { return shape[0]; }
  int64_t row_size() const {
    int64_t count = 1;
    for (int i = 1; i < rank; ++i) count *= shape[i];
    return count;
  }
  int64_t size() const { return rank == 0 ? 0 : shape[0] * row_size(); }
  size_t bytes() const { return size_t(size()) * size_of(dtype); }
  bool dense() const { return row_stride == row_size() || shape[0] <= 1; }

  // The typed pointer; the caller has checked the type.
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }

  // Same numbers, other sizes. Dense tensors only.
  Tensor reshape(std::initializer_list<int64_t> sizes) const {
    require(dense(), "E_SHAPE", "reshape: the tensor is not dense");
    Tensor result = *this;
    result.rank = int(sizes.size());
    int i = 0;
    for (int64_t size : sizes) result.shape[i++] = size;
    result.row_stride = result.row_size();
    require(result.size() == size(), "E_SHAPE", "reshape: ", result.size(), " elements wanted of ", size());
    return result;
  }

  // Rows [first, first + count).
  Tensor slice(int64_t first, int64_t count) const {
    Tensor result = *this;
    result.data = static_cast<uint8_t*>(data) + size_t(first * row_stride) * size_of(dtype);
    result.shape[0] = count;
    return result;
  }

  // Columns [first, first + count) of a matrix: a strided view.
  Tensor columns(int64_t first, int64_t count) const {
    Tensor result = *this;
    result.data = static_cast<uint8_t*>(data) + size_t(first) * size_of(dtype);
    result.shape[1] = count;
    return result;  // row_stride stays that of the wider matrix
  }

  // Columns [first, first + count) of a matrix, seen as (rows, heads, count / heads): a strided view.
  Tensor heads(int64_t first, int64_t head_count, int64_t head_size) const {
    Tensor result = *this;
    result.data = static_cast<uint8_t*>(data) + size_t(first) * size_of(dtype);
    result.rank = 3;
    result.shape[1] = head_count;
    result.shape[2] = head_size;
    return result;  // row_stride stays that of the wider matrix
  }
};

inline std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  if (x.absent()) return out << "(absent)";
  out << "(";
  for (int i = 0; i < x.rank; ++i) out << (i ? ", " : "") << x.shape[i];
  return out << ") " << name_of(x.dtype);
}

}  // namespace vlm2vec
