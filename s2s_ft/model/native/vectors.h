/* Vectors of float32 in the compiler's own extension (GCC, Clang), as wide as the processor's.
 *
 * Notable: no intrinsics, so one text serves every processor; where a vector is wider than a register
 * the compiler takes several. bfloat16 is the upper half of a float32.
 */

#ifndef S2S_FT_VECTORS_H
#define S2S_FT_VECTORS_H

#include <stdint.h>
#if defined(__AVX512BF16__) || defined(__AMX_TILE__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 8 }; /* 16 of 32 registers hold sums */
#else
enum { LANES = 8, ROWS = 4 };
#endif
enum { PAIR = 2 * LANES };

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint8_t bytes __attribute__((vector_size(LANES)));

/* The same anywhere in memory. */
typedef float any_floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t any_halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint32_t any_words __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint8_t any_bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

static inline floats load(const float *from) { return *(const any_floats *)from; }
static inline void store(float *to, floats x) { *(any_floats *)to = x; }
static inline floats each(float x) { return x - (floats){0}; }
static inline ints lanes(void) {
    ints lane = {0};
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane;
}

static inline floats load_bfloat16(const uint16_t *from) {
    return (floats)(__builtin_convertvector(*(const any_halves *)from, words) << 16);
}

/* Rounds to the nearest, of two to the even one; what is no number stays none. */
static inline halves bfloat16_of(floats x) {
#if defined(__AVX512BF16__) && defined(__AVX512F__)
    return (halves)_mm512_cvtneps_pbh((__m512)x);
#else
    words bits = (words)x, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    words is_nan = (words)(x != x);
    return __builtin_convertvector((is_nan & 0x7fc0) | (~is_nan & rounded), halves);
#endif
}

static inline void store_bfloat16(uint16_t *to, floats x) { *(any_halves *)to = bfloat16_of(x); }

/* Numbers of two rows, those of one column side by side. */
static inline void store_pairs(uint32_t *to, floats upper, floats lower) {
    words first = __builtin_convertvector(bfloat16_of(upper), words);
    *(any_words *)to = first | (__builtin_convertvector(bfloat16_of(lower), words) << 16);
}

static inline floats choose(ints when, floats yes, floats no) {
    return (floats)((when & (ints)yes) | (~when & (ints)no));
}

static inline float sum_of(floats x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

/* e^x for x of at most 0, to 2e-7; exactly 0 below -87; NaN of NaN. */
static inline floats exponential(floats x) {
    floats shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to a whole number */
    words power = (words)shifted - 0x4b400000u;
    floats whole = shifted - 12582912.0f;
    floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f; /* ln 2 in two parts */
    floats y = each(1.0f / 720);
    y = y * rest + 1.0f / 120;
    y = y * rest + 1.0f / 24;
    y = y * rest + 1.0f / 6;
    y = y * rest + 0.5f;
    y = y * rest + 1.0f;
    y = y * rest + 1.0f;
    floats scaled = (floats)((words)(x >= -87.0f) & ((words)y + (power << 23)));
    return choose(x != x, x, scaled);
}

/* LANES rows become LANES columns, in log2(LANES) rounds of exchange. */
static inline void transpose_block(floats x[LANES]) {
    ints lane = lanes();
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2) {
        ints odd = (lane & step) != 0;
        ints low = (odd & (LANES + lane - step)) | (~odd & lane);
        ints high = (odd & (LANES + lane)) | (~odd & (lane + step));
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & step) continue;
            floats first = x[i], second = x[i + step];
            x[i] = __builtin_shuffle(first, second, low);
            x[i + step] = __builtin_shuffle(first, second, high);
        }
    }
}

/* [rows, columns] -> [columns, rows]; both are multiples of LANES, the widths are those in memory. */
static inline void transpose(const float *from, int64_t rows, int64_t from_width,
                                  int64_t columns, float *to, int64_t to_width) {
    for (int64_t row = 0; row < rows; row += LANES)
        for (int64_t column = 0; column < columns; column += LANES) {
            floats x[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) x[i] = load(from + (row + i) * from_width + column);
            transpose_block(x);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) store(to + (column + i) * to_width + row, x[i]);
        }
}

/* Random bits from a counter: Threefry-4x32 with 12 rounds (Salmon et al. 2011, "Parallel random
 * numbers: as easy as 1, 2, 3", section 4). The counter is (first + lane, second, third, 0). */
static inline void random_words(const uint32_t seed[2], uint32_t first, uint32_t second,
                                uint32_t third, words x[4]) {
    static const int turns[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5},
                                    {6, 20},  {17, 11}, {25, 10}, {18, 20}};
    uint32_t key[5] = {seed[0], seed[1], 0, 0, 0x1bd11bdau ^ seed[0] ^ seed[1]};
    x[0] = (words)lanes() + first + key[0];
    x[1] = (words){0} + second + key[1];
    x[2] = (words){0} + third + key[2];
    x[3] = (words){0} + key[3];
#pragma GCC unroll 12
    for (int round = 0; round < 12; round++) {
        int one = turns[round % 8][0], other = turns[round % 8][1];
        int p = round % 2 ? 3 : 1, q = round % 2 ? 1 : 3;
        x[0] += x[p];
        x[p] = ((x[p] << one) | (x[p] >> (32 - one))) ^ x[0];
        x[2] += x[q];
        x[q] = ((x[q] << other) | (x[q] >> (32 - other))) ^ x[2];
        if (round % 4 == 3) {
            int turn = round / 4 + 1;
            for (int i = 0; i < 4; i++) x[i] += key[(turn + i) % 5];
            x[3] += (uint32_t)turn;
        }
    }
}

#endif
