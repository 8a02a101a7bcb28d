/* Products of bfloat16 on tiles (AMX), with sums in float32, where the processor has them. They add up
 * two neighbours at a time, and so want the right side in pairs:
 *
 *     left   [rows, inner]          a0 a1 a2 a3 ...                   as any matrix
 *     right  [inner / 2, columns]   (b00 b10) (b01 b11) ...           two rows side by side
 *                                   (b20 b30) (b21 b31) ...
 *
 * Notable: a matrix of rows [L, D] is the right side of a product over L when its rows are paired;
 * over D when it is transposed with two numbers taken as one. Transposing the first of these gives
 * the transposed matrix as a left side. Processors that have bfloat16 in vectors only (AVX512-BF16)
 * are no faster with it than with float32: here it was measured, and left out.
 */

#ifndef S2S_FT_HALF_H
#define S2S_FT_HALF_H

#include "vectors.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512F__) && defined(__linux__)
#define S2S_FT_TILES
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* rows [rows, size] -> [rows / 2, size] pairs. */
static inline void pair_rows(const uint16_t *from, int64_t rows, int64_t size, uint32_t *to) {
    for (int64_t row = 0; row < rows; row += 2)
        for (int64_t d = 0; d < size; d += LANES) {
            const uint16_t *upper = from + row * size + d;
            words first = __builtin_convertvector(*(const any_halves *)upper, words);
            words second = __builtin_convertvector(*(const any_halves *)(upper + size), words);
            *(any_words *)(to + row / 2 * size + d) = first | (second << 16);
        }
}

#if defined(S2S_FT_TILES)

enum { TILE = 16, DEEP = 32 }; /* rows of a tile, and bfloat16 numbers in a row of it */

/* The kernel hands out the tiles' registers to those that ask. */
static inline int has_half_products(void) {
    enum { ASK = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
}

static inline void begin_half_products(void) {
    struct {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = TILE;
    _tile_loadconfig(&config);
}

static inline void end_half_products(void) { _tile_release(); }

/* out = (adds ? out : 0) + left right; rows are a multiple of TILE, inner and columns of DEEP. */
static inline void half_product(const uint16_t *left, int64_t left_width, const uint32_t *right,
                                int64_t right_width, int64_t inner, float *out, int64_t out_width,
                                int64_t rows, int64_t columns, int adds) {
    for (int64_t row = 0; row < rows; row += TILE)
        for (int64_t column = 0; column < columns; column += 2 * TILE) {
            float *to = out + row * out_width + column;
            if (adds) {
                _tile_loadd(0, to, 4 * out_width);
                _tile_loadd(1, to + TILE, 4 * out_width);
            } else {
                _tile_zero(0);
                _tile_zero(1);
            }
            for (int64_t i = 0; i < inner; i += DEEP) {
                const uint32_t *down = right + i / 2 * right_width + column;
                _tile_loadd(2, left + row * left_width + i, 2 * left_width);
                _tile_loadd(3, down, 4 * right_width);
                _tile_dpbf16ps(0, 2, 3);
                _tile_loadd(4, down + TILE, 4 * right_width);
                _tile_dpbf16ps(1, 2, 4);
            }
            _tile_stored(0, to, 4 * out_width);
            _tile_stored(1, to + TILE, 4 * out_width);
        }
}

#else

static inline int has_half_products(void) { return 0; }
static inline void begin_half_products(void) {}
static inline void end_half_products(void) {}
static inline void half_product(const uint16_t *left, int64_t left_width, const uint32_t *right,
                                int64_t right_width, int64_t inner, float *out, int64_t out_width,
                                int64_t rows, int64_t columns, int adds) {
    (void)left, (void)left_width, (void)right, (void)right_width, (void)inner, (void)out;
    (void)out_width, (void)rows, (void)columns, (void)adds; /* never called */
}

#endif

#endif
