#include "bench/peaks.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>

#include "core/parallel.h"

#if defined(VLM2VEC_X86)
#include <immintrin.h>
#endif

namespace vlm2vec {

namespace {

// Independent chains of multiply-adds: enough of them to hide the latency of any of these instructions.
constexpr int kChains = 16;

struct Loop {
  float (*run)(int64_t rounds);  // the result depends on every operation
  double operations;             // a round
};

float portable_f32(int64_t rounds) {
  typedef float Vector __attribute__((vector_size(16)));
  Vector sums[kChains] = {};
  for (int64_t i = 0; i < rounds; ++i)
    for (auto& sum : sums) sum = sum * 0.999f + 0.001f;
  float total = 0;
  for (const auto& sum : sums) total += sum[0];
  return total;
}

#if defined(VLM2VEC_X86)

__attribute__((target("avx2,fma"))) float avx2_f32(int64_t rounds) {
  __m256 sums[kChains / 2 + 4];  // of 16 registers two hold the factors
  const __m256 factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < rounds; ++i)
    for (auto& sum : sums) sum = _mm256_fmadd_ps(sum, factor, term);
  float total = 0;
  for (const auto& sum : sums) total += _mm256_cvtss_f32(sum);
  return total;
}

__attribute__((target("avx512f"))) float avx512_f32(int64_t rounds) {
  __m512 sums[kChains];
  const __m512 factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < rounds; ++i)
    for (auto& sum : sums) sum = _mm512_fmadd_ps(sum, factor, term);
  float total = 0;
  for (const auto& sum : sums) total += _mm512_cvtss_f32(sum);
  return total;
}

__attribute__((target("avx512f,avx512bf16"))) float avx512_bf16(int64_t rounds) {
  __m512 sums[kChains];
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3a833a83), b = (__m512bh)_mm512_set1_epi32(0x3f7f3f7f);
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < rounds; ++i)
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  float total = 0;
  for (const auto& sum : sums) total += _mm512_cvtss_f32(sum);
  return total;
}

// Six sums of tiles: the other two registers are the factors.
float amx_bf16(int64_t rounds) {
  struct alignas(64) {
    uint8_t palette = 1, reserved[15] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  alignas(64) float sums[16 * 16] = {};
  asm volatile("ldtilecfg %0" ::"m"(config));
  for (int64_t i = 0; i < rounds; ++i)
    asm volatile(
        "tdpbf16ps %tmm7, %tmm6, %tmm0\n\ttdpbf16ps %tmm7, %tmm6, %tmm1\n\ttdpbf16ps %tmm7, %tmm6, %tmm2\n\t"
        "tdpbf16ps %tmm7, %tmm6, %tmm3\n\ttdpbf16ps %tmm7, %tmm6, %tmm4\n\ttdpbf16ps %tmm7, %tmm6, %tmm5");
  asm volatile("tilestored %%tmm0, (%0,%1,1)\n\ttilerelease" ::"r"(sums), "r"(int64_t(64)) : "memory");
  return sums[0];
}

__attribute__((target("avx512f,avx512vnni"))) float avx512_int8(int64_t rounds) {
  __m512i sums[kChains];
  const __m512i a = _mm512_set1_epi32(0x01020304), b = _mm512_set1_epi32(0x04030201);
#pragma GCC unroll 16
  for (int j = 0; j < kChains; ++j) sums[j] = _mm512_setzero_si512();
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) asm("vpdpbusd %2, %1, %0" : "+v"(sums[j]) : "v"(a), "v"(b));
  __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 16
  for (int j = 0; j < kChains; ++j) total = _mm512_xor_si512(total, sums[j]);
  return float(_mm512_cvtsi512_si32(total));
}

#endif

Loop f32_loop(Isa isa) {
#if defined(VLM2VEC_X86)
  if (isa >= Isa::Avx512) return {avx512_f32, 2.0 * 16 * kChains};
  if (isa >= Isa::Avx2) return {avx2_f32, 2.0 * 8 * (kChains / 2 + 4)};
#endif
  static_cast<void>(isa);
  return {portable_f32, 2.0 * 4 * kChains};
}

Loop bf16_loop(Isa isa) {
#if defined(VLM2VEC_X86)
  if (isa == Isa::Amx) return {amx_bf16, 2.0 * 16 * 16 * 32 * 6};
  if (isa == Isa::Avx512Bf16) return {avx512_bf16, 2.0 * 32 * kChains};
#endif
  return f32_loop(isa);
}

Loop int8_loop() {
#if defined(VLM2VEC_X86)
  if (__builtin_cpu_supports("avx512vnni")) return {avx512_int8, 2.0 * 64 * kChains};
#endif
  return {nullptr, 0};
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of a few runs of some 15 ms.
double rate_of(const Loop& loop, int threads) {
  if (!loop.run) return 0;
  volatile float sink = 0;
  const auto run = [&](int64_t rounds) {
    return seconds_of([&] { parallel_for(threads, threads, [&](int64_t) { sink = loop.run(rounds); }); });
  };
  int64_t rounds = 1 << 14;
  while (run(rounds) < 0.015) rounds *= 2;
  double best = 1e9;
  for (int i = 0; i < 5; ++i) best = std::min(best, run(rounds));
  return loop.operations * double(rounds) * threads / best;
}

// to[i] = a[i] + 0.5 b[i] past the caches, in place where the machine has stores that do not read first.
void triad(float* to, const float* a, const float* b, int64_t count) {
#if defined(VLM2VEC_X86)
  const __m128 half = _mm_set1_ps(0.5f);
  for (int64_t i = 0; i + 4 <= count; i += 4)
    _mm_stream_ps(to + i, _mm_add_ps(_mm_load_ps(a + i), _mm_mul_ps(half, _mm_load_ps(b + i))));
  _mm_sfence();
#else
  for (int64_t i = 0; i < count; ++i) to[i] = a[i] + 0.5f * b[i];
#endif
}

double memory_rate(Device& device) {
  constexpr int64_t kCount = int64_t(16) << 20;  // 64 MiB an array
  float* arrays[3];
  for (float*& array : arrays) array = static_cast<float*>(device.allocate(kCount * sizeof(float)));
  const int threads = device.threads();
  const auto pass = [&] {
    parallel_for(threads, threads, [&](int64_t t) {
      const int64_t first = kCount / 4 * t / threads * 4, end = kCount / 4 * (t + 1) / threads * 4;
      triad(arrays[0] + first, arrays[1] + first, arrays[2] + first, end - first);
    });
  };
  for (float* array : arrays) std::fill_n(array, kCount, 1.0f);
  double best = 1e9;
  for (int i = 0; i < 6; ++i) best = std::min(best, seconds_of(pass));
  for (float* array : arrays) device.release(array);
  return 3.0 * kCount * sizeof(float) / best;
}

}  // namespace

double measure_peak(Device& device, Peak of) {
  require_cpu(device, "the measurement of peaks");
  const int threads = device.threads();
  switch (of) {
    case Peak::F32: return rate_of(f32_loop(device.isa()), threads);
    case Peak::Bf16: return rate_of(bf16_loop(device.isa()), threads);
    case Peak::Int8: return rate_of(int8_loop(), threads);
    case Peak::Bytes: return memory_rate(device);
  }
  return 0;
}

}  // namespace vlm2vec
