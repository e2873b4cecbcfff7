/* Rounds a group of GPTQ's columns one by one, each compensated for those before it.
 *
 * Rows do not depend on each other, so LANES of them go through all columns side by side. Products
 * and sums are rounded one by one, in the order of the columns. */

#include "lanes.h"

/* clip(round(t / s) + z, 0, highest), halves to even; targets become what the codes stand for. */
TARGET static void NAMED(round_evenly)(float *t, const float *s, const float *z, float highest,
                                       uint8_t *codes) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it leaves no digit after the point */
    for (size_t lane = 0; lane < LANES; lane++) {
        float q = t[lane] / s[lane];
        q = q < -1048576.0f ? -1048576.0f : q;
        q = q > 1048576.0f ? 1048576.0f : q;
        q = ((q + shift) - shift) + z[lane];
        q = q < 0.0f ? 0.0f : q;
        q = q > highest ? highest : q;
        codes[lane] = (uint8_t)(int32_t)q;
        t[lane] = (q - z[lane]) * s[lane];
    }
}

/* The nearest of the levels, the lower of two as near. */
TARGET static void NAMED(round_to_levels)(float *t, const float *s, const float *levels,
                                          const float *midpoints, int32_t highest,
                                          uint8_t *codes) {
    for (size_t lane = 0; lane < LANES; lane++) {
        float ratio = t[lane] / s[lane];
        int32_t code = 0;
        for (int32_t i = 0; i < highest; i++) code += ratio > midpoints[i];
        codes[lane] = (uint8_t)code;
        t[lane] = levels[code] * s[lane];
    }
}

/* work, original (columns, rows): targets, replaced by errors; weights. lower (columns, columns),
 * its rows `stride` apart. scale, zero (blocks, rows), block_of (columns). levels (highest + 1) and
 * midpoints (highest), or null for evenly spaced codes. codes (columns, rows) is written. scratch
 * (columns, LANES) is overwritten. Returns 0. */
EXPORT TARGET int NAMED(gptq_round_columns)(
    size_t columns, size_t rows, float *work, const float *original, const float *lower,
    size_t stride, const float *scale, const float *zero, const int32_t *block_of, int32_t highest,
    const float *levels, const float *midpoints, uint8_t *codes, float *scratch) {
    for (size_t row = 0; row < rows; row += LANES) {
        const size_t lanes = rows - row < LANES ? rows - row : LANES;
        float value[LANES] = {0}, was[LANES] = {0}, s[LANES], z[LANES] = {0};
        uint8_t code[LANES];
        for (size_t lane = 0; lane < LANES; lane++) s[lane] = 1.0f;
        for (size_t column = 0; column < columns; column++) {
            float *error = scratch + column * LANES;
            const size_t at = column * rows + row;
            const size_t block = (size_t)block_of[column] * rows + row;
            NAMED(copy_lanes)(value, work + at, lanes);
            NAMED(copy_lanes)(was, original + at, lanes);
            NAMED(copy_lanes)(s, scale + block, lanes);
            NAMED(copy_lanes)(z, zero + block, lanes);
            for (size_t before = 0; before < column; before++) {
                const float factor = lower[column * stride + before];
                const float *made = scratch + before * LANES;
                for (size_t lane = 0; lane < LANES; lane++) value[lane] += made[lane] * factor;
            }
            if (levels)
                NAMED(round_to_levels)(value, s, levels, midpoints, highest, code);
            else
                NAMED(round_evenly)(value, s, z, (float)highest, code);
            for (size_t lane = 0; lane < LANES; lane++) error[lane] = was[lane] - value[lane];
            NAMED(copy_lanes)(work + at, error, lanes);
            memcpy(codes + at, code, lanes);
        }
    }
    return 0;
}
