/* The kernel, for one dtype and one instruction set; rounding_dtypes.h says what the macros are.
 *
 * Floats are compared as integers: among those of one sign, a larger magnitude has larger bits.
 * The largest unsigned bits then belong to the most negative number, and the largest bits of those
 * without a sign to the most positive one; NaN and infinities lie above every number.
 */

static inline TARGET void TYPED(widen_run)(const WORD *w, int64_t n, WORD *negative, WORD *positive) {
    WORD most_negative = *negative, most_positive = *positive;
    for (int64_t i = 0; i < n; i++) {
        WORD unsigned_bits = w[i] & SIGN ? 0 : w[i];
        most_positive = unsigned_bits > most_positive ? unsigned_bits : most_positive;
        most_negative = w[i] > most_negative ? w[i] : most_negative;
    }
    *negative = most_negative;
    *positive = most_positive;
}

static inline TARGET void TYPED(widen_columns)(
    const WORD *restrict w, int64_t n, WORD *restrict negative, WORD *restrict positive) {
    for (int64_t i = 0; i < n; i++) {
        WORD unsigned_bits = w[i] & SIGN ? 0 : w[i];
        positive[i] = unsigned_bits > positive[i] ? unsigned_bits : positive[i];
        negative[i] = w[i] > negative[i] ? w[i] : negative[i];
    }
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
    int32_t bad = 0;
    float steps = (float)(hi - lo), low = (float)lo, high = (float)hi;
    for (int64_t i = 0; i < n; i++) {
        WORD below = negative[i] & SIGN ? negative[i] : 0;
        bad |= (below & (WORD)~SIGN) >= INFINITE;
        bad |= positive[i] >= INFINITE;
        float A = VALUE(below), B = VALUE(positive[i]);
        float largest = -A > B ? -A : B; /* +0 in a block of zeros */
        A = symmetric ? -largest : A;
        B = symmetric ? largest : B;
        float range = ROUNDED(B - A);
        float s = ROUNDED(range / steps);
        bad |= !(range <= LARGEST);
        bad |= (s == 0) & (B > A);
        float above = symmetric ? 0 : ROUNDED(high * -A), under = symmetric ? 0 : ROUNDED(low * B);
        float balance = ROUNDED(under + above);
        bad |= !(above <= LARGEST) | !(under >= -LARGEST);
        bad |= !(balance <= LARGEST) | !(balance >= -LARGEST);
        float point = QUOTIENT(balance / (range > 0 ? range : 1));
        point = point < low ? low : point;
        point = point > high ? high : point;
        int32_t nearest = (int32_t)NAMED(bits_of)(point + SHIFT) - SHIFT_BITS;
        nearest = range > 0 ? nearest : 0;
        zero[i] = symmetric ? middle : nearest;
        scale[i] = STORED(s);
        divisor[i] = s > 0 ? s : 1;
        least[i] = s > 0 ? (float)(lo - zero[i]) : 0;
        most[i] = s > 0 ? (float)(hi - zero[i]) : 0;
        z[i] = s > 0 ? zero[i] : 0;
    }
    return bad != 0;
}

/* Round a contiguous weight of shape (n0, b0, n1, b1), whose block (i, j) is [i, :, j, :].
 *
 * scale and zero_point (may be null) have n0 * n1 entries. Returns 0, or 1 where some block holds
 * NaN or infinities or has a scale or zero point that the dtype cannot compute; what was written is
 * then of no use. */
EXPORT TARGET int TYPED(coreml_assay_round)(
    const WORD *restrict weight, int64_t n0, int64_t b0, int64_t n1, int64_t b1, int32_t lo,
    int32_t hi, int symmetric, int32_t middle, WORD *restrict scale, uint8_t *restrict zero_point,
    uint8_t *restrict codes) {
    WORD negative[CHUNK], positive[CHUNK];
    float divisor[CHUNK], least[CHUNK], most[CHUNK];
    int32_t zero[CHUNK], z[CHUNK];
    int64_t row = n1 * b1;
    int64_t together = CACHED / b1 < 1 ? 1 : CACHED / b1 > CHUNK ? CHUNK : CACHED / b1;
    for (int64_t i = 0; i < n0; i++) {
        for (int64_t j = 0; j < n1; j += together) {
            int64_t n = n1 - j < together ? n1 - j : together;
            const WORD *w = weight + i * b0 * row + j * b1;
            uint8_t *q = codes + i * b0 * row + j * b1;
            memset(negative, 0, sizeof negative);
            memset(positive, 0, sizeof positive);
            for (int64_t k = 0; k < b0; k++) {
                if (b1 == 1) TYPED(widen_columns)(w + k * row, n, negative, positive);
                else if (b1 == 32)
                    for (int64_t l = 0; l < n; l++)
                        TYPED(widen_run)(w + k * row + l * 32, 32, negative + l, positive + l);
                else
                    for (int64_t l = 0; l < n; l++)
                        TYPED(widen_run)(w + k * row + l * b1, b1, negative + l, positive + l);
            }
            if (TYPED(parameters)(negative, positive, n, lo, hi, symmetric, middle,
                                  scale + i * n1 + j, zero, divisor, least, most, z))
                return 1;
            if (zero_point)
                for (int64_t l = 0; l < n; l++) zero_point[i * n1 + j + l] = (uint8_t)zero[l];
            for (int64_t k = 0; k < b0; k++) {
                if (b1 == 1) TYPED(code_columns)(w + k * row, n, divisor, least, most, z, q + k * row);
                else if (b1 == 32)
                    for (int64_t l = 0; l < n; l++)
                        TYPED(code_run)(w + k * row + l * 32, 32, divisor[l], least[l], most[l],
                                        z[l], q + k * row + l * 32);
                else
                    for (int64_t l = 0; l < n; l++)
                        TYPED(code_run)(w + k * row + l * b1, b1, divisor[l], least[l], most[l],
                                        z[l], q + k * row + l * b1);
            }
        }
    }
    return 0;
}
