/* The kernel of rounding.h for each dtype of weights; included once for each instruction set. */

static inline TARGET float NAMED(float_of)(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline TARGET uint32_t NAMED(bits_of)(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The float that a half stands for; infinities and NaN are not asked for. */
static inline TARGET float NAMED(float_of_half)(uint16_t half) {
    uint32_t magnitude = half & 0x7fffu;
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    float normal = NAMED(float_of)((magnitude << 13) + (112u << 23));
    float subnormal = (float)(int32_t)magnitude * 0x1p-24f;
    uint32_t bits = NAMED(bits_of)(magnitude < 0x400u ? subnormal : normal);
    return NAMED(float_of)(bits | sign);
}

/* The nearest float with a half's 11 bits, ties to even, for quotients: whether they are below or
 * above what a half can hold does not matter, for they become codes. */
static inline TARGET float NAMED(to_11_bits)(float value) {
    uint32_t bits = NAMED(bits_of)(value);
    return NAMED(float_of)((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
}

/* The nearest half, subnormal ones included; beyond 65504 something larger. */
static inline TARGET float NAMED(to_half)(float value) {
    float rounded = NAMED(to_11_bits)(value);
    float tiny = (value + 0.75f) - 0.75f; /* a multiple of 2^-24 */
    float magnitude = value < 0 ? -value : value;
    return magnitude < 0x1p-14f ? tiny : rounded;
}

static inline TARGET uint16_t NAMED(half_of)(float value) { /* value is a half, not negative */
    uint32_t bits = NAMED(bits_of)(value);
    uint32_t normal = (bits - (112u << 23)) >> 13;
    uint32_t subnormal = (uint32_t)(int32_t)(value * 0x1p24f);
    return (uint16_t)(value < 0x1p-14f ? subnormal : normal);
}

#define WORD uint32_t
#define SIGNED_WORD int32_t
#define SIGN 0x80000000u
#define INFINITE 0x7f800000u
#define LARGEST FLT_MAX
#define VALUE(word) NAMED(float_of)(word)
#define STORED(value) NAMED(bits_of)(value)
#define ROUNDED(value) (value)
#define QUOTIENT(value) (value)
#define TYPED(name) NAMED(name##_f32)
#include "rounding.h"
#undef WORD
#undef SIGNED_WORD
#undef SIGN
#undef INFINITE
#undef LARGEST
#undef VALUE
#undef STORED
#undef ROUNDED
#undef QUOTIENT
#undef TYPED

#define WORD uint16_t
#define SIGNED_WORD int16_t
#define SIGN 0x8000u
#define INFINITE 0x7c00u
#define LARGEST 65504.0f
#define VALUE(word) NAMED(float_of_half)(word)
#define STORED(value) NAMED(half_of)(value)
#define ROUNDED(value) NAMED(to_half)(value)
#define QUOTIENT(value) NAMED(to_11_bits)(value)
#define TYPED(name) NAMED(name##_f16)
#include "rounding.h"
#undef WORD
#undef SIGNED_WORD
#undef SIGN
#undef INFINITE
#undef LARGEST
#undef VALUE
#undef STORED
#undef ROUNDED
#undef QUOTIENT
#undef TYPED
