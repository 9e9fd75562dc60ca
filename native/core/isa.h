// CPU instruction sets, chosen at run time. Every `ops/*_cpu.cpp` is compiled once per set (CMakeLists.txt), each time
// with VLM2VEC_ISA set to one of the namespaces below, and defines its kernel table in that namespace.
#pragma once

namespace vlm2vec {

// Ordered: each set includes those before it. Amx: Avx512's kernels, but for products of bf16 by tiles (ops/amx.h).
enum class Isa { Portable, Avx2, Avx512, Avx512Bf16, Amx };

// The best set that this machine can run and that this build contains.
Isa supported_isa();
// The one to compute with: that, but for AVX512-BF16 of Intel's CPUs, where bf16 is faster widened to f32: a Sapphire
// Rapids does 155 GF/s with vdpbf16ps and 325 GF/s with f32's vfmadd (two cores); on AMD's, vdpbf16ps doubles f32's
// rate.
Isa detect_isa();
const char* name_of(Isa isa);

}  // namespace vlm2vec

// In a kernel's header: declares `extern const Type name` for every set of this build.
#if defined(VLM2VEC_X86)
#define VLM2VEC_DECLARE_KERNELS(Type, name) \
  namespace portable {                      \
  extern const Type name;                   \
  }                                         \
  namespace avx2 {                          \
  extern const Type name;                   \
  }                                         \
  namespace avx512 {                        \
  extern const Type name;                   \
  }                                         \
  namespace avx512_bf16 {                   \
  extern const Type name;                   \
  }
#define VLM2VEC_KERNELS(isa, name)                         \
  ((isa) == ::vlm2vec::Isa::Avx512Bf16 ? avx512_bf16::name \
   : (isa) >= ::vlm2vec::Isa::Avx512   ? avx512::name      \
   : (isa) == ::vlm2vec::Isa::Avx2     ? avx2::name        \
                                       : portable::name)
#else
#define VLM2VEC_DECLARE_KERNELS(Type, name) \
  namespace portable {                      \
  extern const Type name;                   \
  }
#define VLM2VEC_KERNELS(isa, name) (static_cast<void>(isa), portable::name)
#endif
