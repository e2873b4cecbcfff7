/* One source, one function for each instruction set.
 *
 * A kernel is written once, in a header that holds no include guard:
 *
 *     EXPORT TARGET int NAMED(my_kernel)(...) { ... }
 *
 * A .c file then says `#define KERNEL "my_kernel.h"` and `#include "every_isa.h"`, which includes
 * that header once for each instruction set: as my_kernel_plain, my_kernel_avx2, my_kernel_avx512
 * on x86-64, as my_kernel_neon on arm64. Which of them the machine can run is asked at run time
 * (isa.c). Every function in the header, helpers too, has to bear TARGET and NAMED; the compiler
 * then vectorizes the loops for that instruction set. No intrinsics are needed.
 */
#ifndef COREML_ASSAY_ISA_H
#define COREML_ASSAY_ISA_H

#include <float.h>

#if FLT_EVAL_METHOD != 0
#error "float arithmetic has excess precision here, so results would not be equal bit for bit"
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* What every instruction set of this architecture includes. */
#if defined(__aarch64__) || defined(_M_ARM64)
#define BASELINE neon
#else
#define BASELINE plain
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_X86_TARGETS 1
#define AVX2_TARGET __attribute__((target("avx2")))
#if defined(__clang__)
#define AVX512_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#else
#define AVX512_TARGET \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
#endif

#define JOINED(name, isa) name##_##isa
#define EXPANDED(name, isa) JOINED(name, isa)
#define NAMED(name) EXPANDED(name, ISA)
#define QUOTED(word) #word
#define STRING(word) QUOTED(word)

#endif
