// Number types of tensors, and bfloat16 (the upper half of an f32, rounded to nearest even).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

// Functions that CUDA kernels call too.
#if defined(__CUDACC__)
#define VLM2VEC_HOST_DEVICE __host__ __device__
#else
#define VLM2VEC_HOST_DEVICE
#endif

namespace vlm2vec {

// F16 exists in files only; it is widened while loading.
enum class DType : uint8_t { F32, BF16, F16, I32, U8 };

constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
    case DType::I32: return 4;
    case DType::BF16:
    case DType::F16: return 2;
    case DType::U8: return 1;
  }
  return 0;
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::F32: return "f32";
    case DType::BF16: return "bf16";
    case DType::F16: return "f16";
    case DType::I32: return "i32";
    case DType::U8: return "u8";
  }
  return "?";
}

struct bf16 {
  uint16_t bits;
};

VLM2VEC_HOST_DEVICE static inline float to_float(bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

VLM2VEC_HOST_DEVICE static inline float to_float(float x) { return x; }

VLM2VEC_HOST_DEVICE static inline bf16 to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {uint16_t((bits >> 16) | 0x40)};  // NaN stays NaN
  return {uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::F32;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::BF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::I32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::U8;
};

}  // namespace vlm2vec
