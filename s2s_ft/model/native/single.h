/* Products of an example's rows in float32.
 *
 *     left [rows, inner] x right [inner, columns], ROWS rows and PAIR columns at a time
 */

#ifndef S2S_FT_SINGLE_H
#define S2S_FT_SINGLE_H

#include "vectors.h"

/* out = (adds ? out : 0) + left right, all sums in registers. `left` has its own steps from row to row
 * and along the inner side, so it may be a transposed matrix; rows are a multiple of ROWS, columns of
 * PAIR. */
static inline void single_product(const float *left, int64_t left_row, int64_t left_inner,
                                 const float *right, int64_t right_width, int64_t inner, float *out,
                                 int64_t out_width, int64_t rows, int64_t columns, int adds) {
    for (int64_t row = 0; row < rows; row += ROWS)
        for (int64_t column = 0; column < columns; column += PAIR) {
            floats sum[ROWS][2];
            float *to = out + row * out_width + column;
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                sum[r][0] = adds ? load(to + r * out_width) : (floats){0};
                sum[r][1] = adds ? load(to + r * out_width + LANES) : (floats){0};
            }
            const float *across = left + row * left_row, *down = right + column;
            for (int64_t i = 0; i < inner; i++, across += left_inner, down += right_width) {
                floats first = load(down), second = load(down + LANES);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++) {
                    sum[r][0] += across[r * left_row] * first;
                    sum[r][1] += across[r * left_row] * second;
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                store(to + r * out_width, sum[r][0]);
                store(to + r * out_width + LANES, sum[r][1]);
            }
        }
}

#endif
