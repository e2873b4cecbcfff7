/* Lanes: LANES floats treated side by side; the last ones of a row may be fewer. Included once for
 * each instruction set. */

/* A copy of constant length is a few instructions, of any other a call of a function. */
TARGET static inline void NAMED(copy_lanes)(float *to, const float *from, size_t lanes) {
    if (lanes == LANES)
        memcpy(to, from, LANES * sizeof *to);
    else
        memcpy(to, from, lanes * sizeof *to);
}
