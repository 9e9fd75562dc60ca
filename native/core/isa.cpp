#include "core/isa.h"

#if defined(__linux__) && defined(VLM2VEC_X86)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace vlm2vec {

#if defined(VLM2VEC_EMULATE_AMX)
static bool has_amx() { return true; }
#elif defined(__linux__) && defined(VLM2VEC_X86)
// AMX-TILE and AMX-BF16, and the system's leave to use the tiles' registers, which it wants to be asked for.
static bool has_amx() {
  constexpr unsigned kTile = 1u << 24, kBf16 = 1u << 22;  // of leaf 7's edx
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTile) == 0 || (d & kBf16) == 0) return false;
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}
#elif defined(VLM2VEC_X86)
static bool has_amx() { return false; }
#endif

Isa supported_isa() {
#if defined(VLM2VEC_X86)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    if (has_amx()) return Isa::Amx;
#if defined(VLM2VEC_EMULATE_BF16)
    return Isa::Avx512Bf16;
#else
    return __builtin_cpu_supports("avx512bf16") ? Isa::Avx512Bf16 : Isa::Avx512;
#endif
  }
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
    case Isa::Amx: return "amx";
  }
  return "?";
}

}  // namespace vlm2vec
