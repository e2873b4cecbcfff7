/* Entering a block of GPTQ's columns; numerics/gptq/kernel.py calls it.
 * It goes by tiles of TALL columns, and so is compiled for AVX-512 alone. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "isa.h"

#ifdef HAS_X86_TARGETS
#include "tiles.h"

/* Columns side by side, from weights whose rows are `weight_row` apart. */
TARGET static void NAMED(transpose)(const float *weight, size_t weight_row, size_t columns,
                                    size_t lanes, float *transposed, size_t rows) {
    float square[LANES][LANES]; /* columns far apart may share their places in a cache */
    for (size_t column = 0; column < columns; column += LANES) {
        const size_t some = columns - column < LANES ? columns - column : LANES;
        for (size_t lane = 0; lane < lanes; lane++)
            for (size_t i = 0; i < some; i++)
                square[i][lane] = weight[lane * weight_row + column + i];
        for (size_t i = 0; i < some; i++)
            NAMED(copy_lanes)(transposed + (column + i) * rows, square[i], lanes);
    }
}

/* Rows start to start + tall of d, so that lower @ d is what d was, those before being solved. */
TARGET INLINED void NAMED(solve_tile)(
    size_t start, size_t tall, const float *lower, size_t stride, float *d) {
    float sum[TALL][LANES];
    for (size_t row = 0; row < tall; row++)
        for (size_t lane = 0; lane < LANES; lane++) sum[row][lane] = d[(start + row) * LANES + lane];
    for (size_t term = 0; term < start; term++) {
#pragma GCC unroll 6
        for (size_t row = 0; row < tall; row++) {
            const float factor = -lower[(start + row) * stride + term];
            for (size_t lane = 0; lane < LANES; lane++)
                sum[row][lane] = fmaf(factor, d[term * LANES + lane], sum[row][lane]);
        }
    }
#pragma GCC unroll 6
    for (size_t row = 0; row < tall; row++) {
#pragma GCC unroll 6
        for (size_t before = 0; before < row; before++) {
            const float factor = -lower[(start + row) * stride + start + before];
            for (size_t lane = 0; lane < LANES; lane++)
                sum[row][lane] = fmaf(factor, sum[before][lane], sum[row][lane]);
        }
    }
    for (size_t row = 0; row < tall; row++)
        for (size_t lane = 0; lane < LANES; lane++) d[(start + row) * LANES + lane] = sum[row][lane];
}

/* weight (rows, columns), its rows `weight_row` apart. original (columns, rows) becomes its
 * transpose. work (columns, rows): what makes good the errors of columns before, to which the
 * weights are added. lower (columns, columns), unit triangular, its rows `stride` apart.
 * compensated (columns, rows), or null, becomes the weights that have all errors made good, none
 * being made within; extremes (2, rows) their least and most in each row. scratch (columns, LANES)
 * is overwritten. Returns 0. */
EXPORT TARGET int NAMED(gptq_enter)(
    size_t columns, size_t rows, const float *weight, size_t weight_row, const float *lower,
    size_t stride, float *work, float *original, float *compensated, float *extremes,
    float *scratch) {
    for (size_t row = 0; row < rows; row += LANES) {
        const size_t lanes = rows - row < LANES ? rows - row : LANES;
        float least[LANES], most[LANES], w[LANES] = {0};
        for (size_t lane = 0; lane < LANES; lane++) {
            least[lane] = INFINITY;
            most[lane] = -INFINITY;
        }
        NAMED(transpose)(weight + row * weight_row, weight_row, columns, lanes, original + row, rows);
        if (lanes < LANES) memset(scratch, 0, columns * LANES * sizeof *scratch);
        for (size_t column = 0; column < columns; column++) {
            const size_t at = column * rows + row;
            float *d = scratch + column * LANES;
            NAMED(copy_lanes)(d, work + at, lanes);
            NAMED(copy_lanes)(w, original + at, lanes);
            for (size_t lane = 0; lane < LANES; lane++) w[lane] += d[lane];
            NAMED(copy_lanes)(work + at, w, lanes);
        }
        for (size_t column = 0; column < columns; column += TALL) {
#define SOLVE_TILE(tall) NAMED(solve_tile)(column, tall, lower, stride, scratch)
            WITH_CONSTANT_HEIGHT(columns - column, SOLVE_TILE)
#undef SOLVE_TILE
        }
        for (size_t column = 0; column < columns; column++) {
            const size_t at = column * rows + row;
            const float *d = scratch + column * LANES;
            NAMED(copy_lanes)(w, original + at, lanes);
            for (size_t lane = 0; lane < LANES; lane++) {
                w[lane] += d[lane];
                least[lane] = w[lane] < least[lane] ? w[lane] : least[lane];
                most[lane] = w[lane] > most[lane] ? w[lane] : most[lane];
            }
            if (compensated) NAMED(copy_lanes)(compensated + at, w, lanes);
        }
        NAMED(copy_lanes)(extremes + row, least, lanes);
        NAMED(copy_lanes)(extremes + rows + row, most, lanes);
    }
    return 0;
}
#endif
