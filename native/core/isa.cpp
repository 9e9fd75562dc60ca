#include "core/isa.h"

namespace vlm2vec {

Isa supported_isa() {
#if defined(VLM2VEC_X86)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
#if defined(VLM2VEC_EMULATE_BF16)
    return Isa::Avx512Bf16;
#else
    return __builtin_cpu_supports("avx512bf16") ? Isa::Avx512Bf16 : Isa::Avx512;
#endif
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::Avx2;
#endif
  return Isa::Portable;
}

Isa detect_isa() {
  const Isa isa = supported_isa();
#if defined(VLM2VEC_X86) && !defined(VLM2VEC_EMULATE_BF16)
  if (isa == Isa::Avx512Bf16 && __builtin_cpu_is("intel")) return Isa::Avx512;
#endif
  return isa;
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::Portable: return "portable";
    case Isa::Avx2: return "avx2";
    case Isa::Avx512: return "avx512";
    case Isa::Avx512Bf16: return "avx512_bf16";
  }
  return "?";
}

}  // namespace vlm2vec
