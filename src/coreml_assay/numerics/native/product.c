/* Adds a product of matrices to a matrix, for GPTQ; numerics/gptq/products.py calls it.
 * It goes by tiles of c, and so is compiled for AVX-512 alone. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "isa.h"

#ifdef HAS_X86_TARGETS
#include "tiles.h"

enum {
    DEPTH = 256, /* terms of each sum, which is then added to the matrix */
    ROWS = 256,  /* rows whose factors stay in a cache while the columns go by */
};

/* c (tall, lanes) += sign * a (tall, depth) @ b (depth, LANES), b being contiguous. */
TARGET INLINED void NAMED(add_tile)(
    size_t tall, size_t lanes, size_t depth, float sign, float *c, size_t c_row, const float *a,
    size_t a_row, size_t a_column, const float *b) {
    float sum[TALL][LANES];
    for (size_t row = 0; row < tall; row++)
        for (size_t lane = 0; lane < LANES; lane++) sum[row][lane] = 0.0f;
    for (size_t term = 0; term < depth; term++) {
#pragma GCC unroll 6
        for (size_t row = 0; row < tall; row++) {
            const float factor = a[row * a_row + term * a_column];
            for (size_t lane = 0; lane < LANES; lane++)
                sum[row][lane] = fmaf(factor, b[term * LANES + lane], sum[row][lane]);
        }
    }
    for (size_t row = 0; row < tall; row++)
        for (size_t lane = 0; lane < lanes; lane++) c[row * c_row + lane] += sign * sum[row][lane];
}

/* c (rows, columns) += sign * a (rows, terms) @ b (terms, columns). Entries of c and of b lie next
 * to each other along a row, those of a anywhere; c overlaps neither. Returns 0. */
EXPORT TARGET int NAMED(gptq_add_product)(
    size_t rows, size_t columns, size_t terms, float sign, float *c, size_t c_row, const float *a,
    size_t a_row, size_t a_column, const float *b, size_t b_row) {
    float part[DEPTH * LANES] __attribute__((aligned(64))); /* of b */
    for (size_t term = 0; term < terms; term += DEPTH) {
        const size_t depth = terms - term < DEPTH ? terms - term : DEPTH;
        for (size_t top = 0; top < rows; top += ROWS) {
            const size_t bottom = rows - top < ROWS ? rows : top + ROWS;
            for (size_t column = 0; column < columns; column += LANES) {
                const size_t lanes = columns - column < LANES ? columns - column : LANES;
                if (lanes < LANES) memset(part, 0, depth * LANES * sizeof *part);
                for (size_t i = 0; i < depth; i++)
                    NAMED(copy_lanes)(part + i * LANES, b + (term + i) * b_row + column, lanes);
                for (size_t row = top; row < bottom; row += TALL) {
                    const float *factors = a + row * a_row + term * a_column;
                    float *sums = c + row * c_row + column;
#define ADD_TILE(tall) \
    NAMED(add_tile)(tall, lanes, depth, sign, sums, c_row, factors, a_row, a_column, part)
                    WITH_CONSTANT_HEIGHT(bottom - row, ADD_TILE)
#undef ADD_TILE
                }
            }
        }
    }
    return 0;
}
#endif
