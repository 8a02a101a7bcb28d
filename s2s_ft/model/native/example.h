/* What a call is about, the working memory of a thread, and how rows come into it and out again.
 *
 * Letters: C packed rows, H heads, D head size, L rows of an example.
 */

#ifndef S2S_FT_EXAMPLE_H
#define S2S_FT_EXAMPLE_H

#include <string.h>

#include "vectors.h"

enum { CHUNK = 64 };

/* What a call is about; `attention.py` has the same fields in the same order. Tensors of rows are
 * [C, H, D], of bfloat16 or float32. */
typedef struct {
    const void *query, *key, *value, *result, *given;
    void *out, *to_query, *to_key, *to_value;
    float *log_sum;          /* [C, H]: logarithm of the sum of a row's exponentials */
    const int64_t *rows;     /* packed rows, example after example */
    const int64_t *starts;   /* [n + 1] of an example in `rows` */
    const int64_t *sources;  /* [n] rows of the source */
    const int64_t *patterns; /* [n] of an example's [L, L] in `seen` */
    const uint8_t *seen;     /* some LANES bytes beyond its end are read, too */
    float *scratch;
    int64_t examples, heads, size, longest, is_bfloat16;
    int64_t source_sees_all, rest_sees_source, rest_only;
    float scaling;       /* on the scores */
    float kept_factor;   /* on what dropout keeps */
    uint32_t kept_below; /* of 65536; 0 = no dropout */
    uint32_t seed[2];
} Call;

/* An example and a head, with the working memory of a thread: matrices [width, size] of rows, and
 * [size, width] where a name says so. */
typedef struct {
    const Call *call;
    const int64_t *rows;
    const uint8_t *seen;
    int64_t count, source, head, width, size;
    uint32_t pair;
    float *query, *key, *value, *given, *key_across, *value_across, *to_key, *to_value;
    float *weights, *gradients; /* [CHUNK, width] */
    float *out;                 /* [ROWS, size] */
    float *delta;               /* [width] */
} One;

static int64_t rounded_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

static int64_t width_of(const Call *call) { return rounded_up(call->longest + ROWS, PAIR); }

static int64_t size_of(const Call *call) { return rounded_up(call->size, PAIR); }

/* Floats of working memory that a thread needs. */
static int64_t scratch_of(const Call *call) {
    int64_t width = width_of(call), size = size_of(call);
    return 8 * width * size + 2 * CHUNK * width + ROWS * size + width;
}

static void read_row(const One *one, const void *from, int64_t row, float *restrict to,
                     float factor) {
    const Call *call = one->call;
    int64_t size = call->size, at = (one->rows[row] * call->heads + one->head) * size, d = 0;
    if (call->is_bfloat16) {
        const uint16_t *values = (const uint16_t *)from + at;
        for (; d + LANES <= size; d += LANES) store(to + d, load_bfloat16(values + d) * factor);
        for (; d < size; d++) {
            uint32_t bits = (uint32_t)values[d] << 16;
            memcpy(to + d, &bits, 4);
            to[d] *= factor;
        }
    } else {
        const float *values = (const float *)from + at;
        for (; d + LANES <= size; d += LANES) store(to + d, load(values + d) * factor);
        for (; d < size; d++) to[d] = values[d] * factor;
    }
}

static void write_row(const One *one, void *into, int64_t row, const float *restrict from,
                      float factor) {
    const Call *call = one->call;
    int64_t size = call->size, at = (one->rows[row] * call->heads + one->head) * size, d = 0;
    if (call->is_bfloat16) {
        uint16_t *values = (uint16_t *)into + at, last[LANES];
        for (; d + LANES <= size; d += LANES) store_bfloat16(values + d, load(from + d) * factor);
        if (d < size) { /* the working memory is a whole number of vectors wide */
            store_bfloat16(last, load(from + d) * factor);
            memcpy(values + d, last, 2 * (size - d));
        }
    } else {
        float *values = (float *)into + at;
        for (; d + LANES <= size; d += LANES) store(values + d, load(from + d) * factor);
        for (; d < size; d++) values[d] = from[d] * factor;
    }
}

/* All rows of the example, and zeros behind them. */
static void read_rows(const One *one, const void *from, float *to, float factor) {
    for (int64_t row = 0; row < one->count; row++)
        read_row(one, from, row, to + row * one->size, factor);
    memset(to + one->count * one->size, 0, 4 * one->size * (one->width - one->count));
}

static void write_zeros(const One *one, void *into, int64_t rows) {
    memset(one->out, 0, 4 * one->size);
    for (int64_t row = 0; row < rows; row++) write_row(one, into, row, one->out, 0.0f);
}

static One memory_of(const Call *call, int thread) {
    int64_t width = width_of(call), size = size_of(call), block = width * size;
    float *at = call->scratch + thread * scratch_of(call);
    memset(at, 0, 4 * scratch_of(call)); /* columns beyond the head size stay zero */
    One one = {.call = call, .width = width, .size = size};
    float **blocks[] = {&one.query,      &one.key,          &one.value,  &one.given,
                        &one.key_across, &one.value_across, &one.to_key, &one.to_value};
    for (int i = 0; i < 8; i++, at += block) *blocks[i] = at;
    one.weights = at;
    one.gradients = one.weights + CHUNK * width;
    one.out = one.gradients + CHUNK * width;
    one.delta = one.out + ROWS * size;
    return one;
}

#endif
