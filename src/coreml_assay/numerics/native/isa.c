/* Which instruction sets the kernels were compiled for and this machine can run. */
#include "isa.h"

/* Their names with spaces between, the best last. */
EXPORT const char *coreml_assay_isas(void) {
#ifdef HAS_X86_TARGETS
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return STRING(BASELINE);
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")))
        return STRING(BASELINE) " avx2";
    return STRING(BASELINE) " avx2 avx512";
#else
    return STRING(BASELINE);
#endif
}

/* Of the functions' signatures. Raised with them, here and in __init__.py, so that a library
 * built before is not called with what it does not expect. */
EXPORT int coreml_assay_interface(void) { return 6; }
