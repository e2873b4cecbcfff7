/* Round-to-nearest in one pass over the weight: range, scale, zero point and codes of each block.
 *
 * Equals affine.choose_qparams and affine.quantize run in the weight's dtype, bit for bit, wherever
 * it returns 0; what a dtype cannot compute is left to the caller.
 */
#include <stdint.h>
#include <string.h>

#include "isa.h"

enum {
    CHUNK = 256, /* blocks treated together */
    PAGE = 1024, /* elements of runs treated together; memory is read ahead to the end of a page */
    LONG = 4,    /* runs treated together that are longer than that */
};

/* Adding it to a float of magnitude below 2^22 rounds that half-to-even into the lowest bits. */
static const float SHIFT = 12582912.0f; /* 1.5 * 2^23 */
static const int32_t SHIFT_BITS = 0x4b400000;

#define KERNEL "rounding_dtypes.h"
#include "every_isa.h"
