/* The kernel, for one dtype and one instruction set; rounding_dtypes.h says what the macros are.
 *
 * Floats are compared as integers: among those of one sign, a larger magnitude has larger bits.
 * The largest unsigned bits then belong to the most negative number, and the largest bits of those
 * without a sign to the most positive one; NaN and infinities lie above every number.
 */

static inline TARGET WORD TYPED(more_positive)(WORD a, WORD b) {
    return (SIGNED_WORD)a > (SIGNED_WORD)b ? a : b;
}

static inline TARGET WORD TYPED(more_negative)(WORD a, WORD b) { return a > b ? a : b; }

static inline TARGET void TYPED(widen_run)(const WORD *w, int64_t n, WORD *negative, WORD *positive) {
    WORD most_negative = *negative, most_positive = *positive;
    for (int64_t i = 0; i < n; i++) {
        most_positive = TYPED(more_positive)(w[i], most_positive);
        most_negative = TYPED(more_negative)(w[i], most_negative);
    }
    *negative = most_negative;
    *positive = most_positive;
}

static inline TARGET void TYPED(widen_columns)(
    const WORD *restrict w, int64_t n, WORD *restrict negative, WORD *restrict positive) {
    for (int64_t i = 0; i < n; i++) {
        positive[i] = TYPED(more_positive)(w[i], positive[i]);
        negative[i] = TYPED(more_negative)(w[i], negative[i]);
    }
}

/* n runs; inlined where the length is a constant, which short runs gain much from. */
static inline TARGET void TYPED(widen_runs)(
    const WORD *w, int64_t n, int64_t length, WORD *negative, WORD *positive) {
    for (int64_t j = 0; j < n; j++)
        TYPED(widen_run)(w + j * length, length, negative + j, positive + j);
}

static inline TARGET uint8_t TYPED(code)(WORD w, float s, float least, float most, int32_t z) {
    float q = QUOTIENT(VALUE(w) / s);
    q = q < least ? least : q;
    q = q > most ? most : q;
    return (uint8_t)((int32_t)NAMED(bits_of)(q + SHIFT) - SHIFT_BITS + z);
}

static inline TARGET void TYPED(code_run)(
    const WORD *restrict w, int64_t n, float s, float least, float most, int32_t z,
    uint8_t *restrict codes) {
    for (int64_t i = 0; i < n; i++) codes[i] = TYPED(code)(w[i], s, least, most, z);
}

static inline TARGET void TYPED(code_runs)(
    const WORD *restrict w, int64_t n, int64_t length, const float *restrict s,
    const float *restrict least, const float *restrict most, const int32_t *restrict z,
    uint8_t *restrict codes) {
    for (int64_t j = 0; j < n; j++)
        TYPED(code_run)(w + j * length, length, s[j], least[j], most[j], z[j], codes + j * length);
}

/* A long run is coded in stretches, while as much of the next run is fetched: the weights of this one
 * are in a cache, so memory would have nothing to do. */
static inline TARGET void TYPED(code_long_run)(
    const WORD *restrict w, int64_t n, float s, float least, float most, int32_t z,
    uint8_t *restrict codes) {
    uint8_t some[STRETCH];
    int64_t i = 0;
    for (; i + STRETCH <= n; i += STRETCH) {
        fetch((uintptr_t)(w + i) + (uintptr_t)n * sizeof *w, STRETCH * sizeof *w);
        TYPED(code_run)(w + i, STRETCH, s, least, most, z, some);
        store_past_caches(codes + i, some, STRETCH);
    }
    TYPED(code_run)(w + i, n - i, s, least, most, z, codes + i);
}

static inline TARGET void TYPED(code_columns)(
    const WORD *restrict w, int64_t n, const float *restrict s, const float *restrict least,
    const float *restrict most, const int32_t *restrict z, uint8_t *restrict codes) {
    for (int64_t i = 0; i < n; i++)
        codes[i] = TYPED(code)(w[i], s[i], least[i], most[i], z[i]);
}

/* Scale and zero point of n blocks. A block of zeros has scale 0 and is divided by 1 instead, its
 * codes held at 0. Returns whether there is a block this dtype cannot do. */
static inline TARGET int TYPED(parameters)(
    const WORD *restrict negative, const WORD *restrict positive, int64_t n, int32_t lo,
    int32_t hi, int symmetric, int32_t middle, WORD *restrict scale, int32_t *restrict zero,
    float *restrict divisor, float *restrict least, float *restrict most, int32_t *restrict z) {
    uint32_t failed[CHUNK], failures = 0; /* the loop has no branches, so that it is vectorized */
    float steps = (float)(hi - lo), low = (float)lo, high = (float)hi;
    float mirrored = symmetric ? 1 : 0, balanced = symmetric ? 0 : 1;
    int32_t shift = SHIFT_BITS - (symmetric ? middle : 0);
    for (int64_t i = 0; i < n; i++) {
        WORD below = negative[i] & SIGN ? negative[i] : 0;
        float least_value = VALUE(below), most_value = VALUE(positive[i]);
        float opposite_least = mirrored * -most_value, opposite_most = mirrored * -least_value;
        float A = least_value < opposite_least ? least_value : opposite_least;
        float B = most_value > opposite_most ? most_value : opposite_most;
        float range = ROUNDED(B - A);
        float s = ROUNDED(range / steps);
        float above = ROUNDED(high * balanced * -A), under = ROUNDED(low * balanced * B);
        float balance = ROUNDED(under + above);
        uint32_t bad = (uint32_t)(below & (WORD)~SIGN) >= INFINITE ? 1 : 0;
        bad |= (uint32_t)positive[i] >= INFINITE ? 1 : 0;
        bad |= range <= LARGEST ? 0 : 1;
        bad |= s > 0 ? 0 : B > A ? 1 : 0;
        bad |= above <= LARGEST ? 0 : 1;
        bad |= under >= -LARGEST ? 0 : 1;
        bad |= balance <= LARGEST ? 0 : 1;
        bad |= balance >= -LARGEST ? 0 : 1;
        failed[i] = bad;
        float point = QUOTIENT(balance / (range > 0 ? range : 1)); /* 0 in a block of zeros */
        point = point < low ? low : point;
        point = point > high ? high : point;
        int32_t nearest = (int32_t)NAMED(bits_of)(point + SHIFT) - shift;
        int32_t used = s > 0 ? -1 : 0;
        zero[i] = nearest;
        z[i] = nearest & used;
        scale[i] = STORED(s);
        divisor[i] = s > 0 ? s : 1;
        least[i] = (float)((lo - nearest) & used);
        most[i] = (float)((hi - nearest) & used);
    }
    for (int64_t i = 0; i < n; i++) failures |= failed[i];
    return failures != 0;
}

/* Round a weight of shape (n0, b0, n1, b1), whose block (i, j) is [i, :, j, :]. Its rows are
 * contiguous and begin `row` entries after each other; codes lie in memory as the weight does.
 *
 * scale and zero_point (may be null) have n0 * n1 entries, contiguous. Returns 0, or 1 where some
 * block holds NaN or infinities or has a scale or zero point that the dtype cannot compute; what
 * was written is then of no use. */
EXPORT TARGET int TYPED(coreml_assay_round)(
    const WORD *restrict weight, int64_t n0, int64_t b0, int64_t n1, int64_t b1, int64_t row,
    int32_t lo, int32_t hi, int symmetric, int32_t middle, WORD *restrict scale, uint8_t *restrict zero_point,
    uint8_t *restrict codes) {
    WORD negative[CHUNK], positive[CHUNK];
    float divisor[CHUNK], least[CHUNK], most[CHUNK];
    int32_t zero[CHUNK], z[CHUNK];
    uint8_t page[PAGE];
    int large = n0 * b0 * n1 * b1 >= LARGE, gathered = large && b1 > 1 && b1 <= PAGE;
    int64_t in_a_page = PAGE / b1 < CHUNK ? PAGE / b1 : CHUNK;
    int64_t together = b1 == 1 ? CHUNK : b1 > PAGE ? (large ? 1 : LONG) : in_a_page;
    for (int64_t i = 0; i < n0; i++) {
        for (int64_t j = 0; j < n1; j += together) {
            int64_t n = n1 - j < together ? n1 - j : together;
            const WORD *w = weight + i * b0 * row + j * b1;
            uint8_t *q = codes + i * b0 * row + j * b1;
            memset(negative, 0, (size_t)n * sizeof *negative);
            memset(positive, 0, (size_t)n * sizeof *positive);
            for (int64_t k = 0; k < b0; k++) {
                const WORD *v = w + k * row;
                if (b1 == 1) TYPED(widen_columns)(v, n, negative, positive);
                else if (b1 == 32) TYPED(widen_runs)(v, n, 32, negative, positive);
                else if (b1 == 16) TYPED(widen_runs)(v, n, 16, negative, positive);
                else if (b1 == 8) TYPED(widen_runs)(v, n, 8, negative, positive);
                else TYPED(widen_runs)(v, n, b1, negative, positive);
            }
            if (TYPED(parameters)(negative, positive, n, lo, hi, symmetric, middle,
                                  scale + i * n1 + j, zero, divisor, least, most, z))
                return 1;
            if (zero_point)
                for (int64_t l = 0; l < n; l++) zero_point[i * n1 + j + l] = (uint8_t)zero[l];
            for (int64_t k = 0; k < b0; k++) {
                const WORD *v = w + k * row;
                uint8_t *p = gathered ? page : q + k * row;
                if (gathered) fetch((uintptr_t)(v + n * b1), (size_t)(n * b1) * sizeof *v);
                if (b1 == 1) TYPED(code_columns)(v, n, divisor, least, most, z, p);
                else if (b1 == 32) TYPED(code_runs)(v, n, 32, divisor, least, most, z, p);
                else if (b1 == 16) TYPED(code_runs)(v, n, 16, divisor, least, most, z, p);
                else if (b1 == 8) TYPED(code_runs)(v, n, 8, divisor, least, most, z, p);
                else if (large && b1 > PAGE)
                    TYPED(code_long_run)(v, b1, *divisor, *least, *most, *z, p);
                else TYPED(code_runs)(v, n, b1, divisor, least, most, z, p);
                if (gathered) store_past_caches(q + k * row, page, n * b1);
            }
        }
    }
#ifdef HAS_X86_TARGETS
    _mm_sfence(); /* what was stored past the caches, other threads are to see */
#endif
    return 0;
}
