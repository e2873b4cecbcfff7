/* Round-to-nearest in one pass over the weight: range, scale, zero point and codes of each block.
 *
 * Equals affine.choose_qparams and affine.quantize run in the weight's dtype, bit for bit, wherever
 * it returns 0; what a dtype cannot compute is left to the caller.
 */
#include <stdint.h>
#include <string.h>

#include "isa.h"

#ifdef HAS_X86_TARGETS
#include <emmintrin.h>
#endif

enum {
    CHUNK = 256, /* blocks treated together */
    PAGE = 1024, /* elements of runs treated together; memory is read ahead to the end of a page */
    LONG = 4,    /* runs treated together that are longer than that */
    STRETCH = 128, /* elements of a long run that are coded together, in a large weight */
};

/* Elements of a weight whose codes are stored past the caches. */
#ifdef HAS_X86_TARGETS
#define LARGE (1 << 22)
#else
#define LARGE INT64_MAX /* in plain C there are no such stores */
#endif

/* Has memory brought into the caches; it need not be there. */
static inline void fetch(uintptr_t from, size_t bytes) {
#ifdef HAS_X86_TARGETS
    for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch((const void *)(from + line));
#endif
}

/* Copies n codes, past the caches where it can: a line that is overwritten whole need not be read
 * before. */
static inline void store_past_caches(uint8_t *to, const uint8_t *from, int64_t n) {
    int64_t i = 0;
#ifdef HAS_X86_TARGETS
    if ((uintptr_t)to % sizeof(__m128i) == 0)
        for (; i + (int64_t)sizeof(__m128i) <= n; i += sizeof(__m128i))
            _mm_stream_si128((__m128i *)(to + i), _mm_loadu_si128((const __m128i *)(from + i)));
#endif
    memcpy(to + i, from + i, (size_t)(n - i));
}

/* Adding it to a float of magnitude below 2^22 rounds that half-to-even into the lowest bits. */
static const float SHIFT = 12582912.0f; /* 1.5 * 2^23 */
static const int32_t SHIFT_BITS = 0x4b400000;

#define KERNEL "rounding_dtypes.h"
#include "every_isa.h"
