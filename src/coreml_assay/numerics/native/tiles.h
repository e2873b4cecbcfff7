/* Tiles of TALL x LANES sums, which AVX-512 keeps in its registers; there is no other instruction set
 * that GPTQ's tiles are compiled for, since PyTorch's libraries are as fast there or faster. */
#define ISA avx512
#define TARGET AVX512_TARGET
enum { TALL = 6, LANES = 64 /* as in kernel.py */ };

/* Sums stay in registers where the height is a constant of the compiler's: TILE(tall) is inlined. */
#define INLINED static inline __attribute__((always_inline))
#define WITH_CONSTANT_HEIGHT(tall, TILE) \
    switch (tall) { \
    case 1: TILE(1); break; \
    case 2: TILE(2); break; \
    case 3: TILE(3); break; \
    case 4: TILE(4); break; \
    case 5: TILE(5); break; \
    default: TILE(TALL); \
    }

#include "lanes.h"
