/* Includes the header KERNEL once for each instruction set; isa.h says how kernels are written. */
#include "isa.h"

#define ISA BASELINE
#define TARGET
#include KERNEL
#undef TARGET
#undef ISA

#ifdef HAS_X86_TARGETS
#define ISA avx2
#define TARGET AVX2_TARGET
#include KERNEL
#undef TARGET
#undef ISA

#define ISA avx512
#define TARGET AVX512_TARGET
#include KERNEL
#undef TARGET
#undef ISA
#endif

#undef KERNEL
