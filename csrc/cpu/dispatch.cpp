// Chooses among the compiled instruction sets, once per process.
#if defined(SRN_HAVE_AMX)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace srn {

namespace portable {
extern const CpuKernels kKernels;
}
#ifdef SRN_HAVE_AVX2
namespace avx2 {
extern const CpuKernels kKernels;
}
#endif
#ifdef SRN_HAVE_AVX512
namespace avx512 {
extern const CpuKernels kKernels;
}
#endif
#ifdef SRN_HAVE_AVX512BF16
namespace avx512bf16 {
extern const CpuKernels kKernels;
}
#endif
#ifdef SRN_HAVE_AMX
namespace amx {
extern const CpuKernels kKernels;
}
#endif

namespace {

#if defined(SRN_HAVE_AMX)
// Whether the processor has AMX with bfloat16, and the system lets this process use its registers: Linux must be asked
// once, as they make every thread's saved state 8 KiB larger.
bool may_use_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  constexpr unsigned kBFloat16 = 1u << 22, kTile = 1u << 24;
  if ((edx & kBFloat16) == 0 || (edx & kTile) == 0) return false;
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// What this processor can run, the best last.
std::vector<const CpuKernels*> usable() {
  std::vector<const CpuKernels*> tables = {&portable::kKernels};
#ifdef SRN_HAVE_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(&avx2::kKernels);
#endif
#ifdef SRN_HAVE_AVX512
  const bool avx512 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) tables.push_back(&avx512::kKernels);
#endif
#ifdef SRN_HAVE_AVX512BF16
  const bool bfloat16 = avx512 && __builtin_cpu_supports("avx512bf16");
  if (bfloat16) tables.push_back(&avx512bf16::kKernels);
#endif
#ifdef SRN_HAVE_AMX
  if (bfloat16 && may_use_amx()) tables.push_back(&amx::kKernels);
#endif
  return tables;
}

const CpuKernels& choose() {
  const std::vector<const CpuKernels*> tables = usable();
  const char* wanted = std::getenv("SRN_KERNELS_ISA");
  if (wanted == nullptr || *wanted == '\0') return *tables.back();
  std::string names;
  for (const CpuKernels* table : tables) {
    if (std::string(wanted) == table->isa) return *table;
    names += std::string(names.empty() ? "" : ", ") + table->isa;
  }
  throw std::runtime_error(std::string("SRN_KERNELS_ISA=") + wanted +
                           " cannot be used: built and usable on this processor are " + names);
}

}  // namespace

const CpuKernels& cpu_kernels() {
  static const CpuKernels& kernels = choose();
  return kernels;
}

}  // namespace srn
