// Chooses among the compiled instruction sets, once a process.
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

namespace {

// What this processor can run, the best last.
std::vector<const CpuKernels*> usable() {
  std::vector<const CpuKernels*> tables = {&portable::kKernels};
#ifdef SRN_HAVE_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(&avx2::kKernels);
#endif
#ifdef SRN_HAVE_AVX512
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    tables.push_back(&avx512::kKernels);
  }
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
