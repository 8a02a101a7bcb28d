/* What a call is about, the working memory of a thread, and how rows come into it and out again.
 *
 * Letters: C packed rows, H heads, D head size, L rows of an example, W and S the width and size of
 * the working memory: L and D, rounded up.
 */

#ifndef S2S_FT_EXAMPLE_H
#define S2S_FT_EXAMPLE_H

#include <string.h>

#include "half.h"
#include "single.h"
#include "vectors.h"

enum {
    STEP = 32,  /* sizes of the working memory are multiples of it */
    BLOCK = 16, /* query rows that are worked on at a time */
    CHUNK = 64  /* and from how many keys and values get their gradients at once */
};

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

/* [W, S] rows of one of the inputs. In float32: as they are, and transposed. In bfloat16: the same, and
 * in pairs as the right side of a product over D (across) or over L. The two share their memory. */
typedef struct {
    float *single, *single_turned;
    uint16_t *half, *half_turned;
    uint32_t *pairs, *pairs_across;
} Rows;

/* An example and a head, with the working memory of a thread. */
typedef struct {
    const Call *call;
    const int64_t *rows;
    const uint8_t *seen;
    int halves; /* whether products are of bfloat16 */
    int64_t count, source, head, width, size;
    int64_t filled; /* of W: rows of the example, and zeros behind them */
    uint32_t pair;
    Rows query, key, value, given;
    float *to_key, *to_value; /* [W, S] gradients; with `halves` [S, W] until they are complete */
    float *passing;           /* [W, S] */
    float *weights, *gradients;              /* [CHUNK, W] */
    uint32_t *weight_pairs, *gradient_pairs; /* [CHUNK / 2, W] */
    uint16_t *left;                          /* [BLOCK, W] of either, in bfloat16 */
    float *out;                              /* [BLOCK, S] */
    float *delta;                            /* [W] */
} One;

static int64_t rounded_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

static int64_t width_of(const Call *call) { return rounded_up(call->longest + STEP, STEP); }

static int64_t size_of(const Call *call) { return rounded_up(call->size, STEP); }

/* Floats of working memory that a thread needs. */
static int64_t scratch_of(const Call *call) {
    int64_t width = width_of(call), size = size_of(call);
    return 11 * width * size + 3 * CHUNK * width + BLOCK * width / 2 + BLOCK * size + width;
}

static Rows rows_at(float *memory, int64_t block) {
    Rows rows = {.single = memory, .single_turned = memory + block};
    rows.half = (uint16_t *)rows.single;
    rows.pairs = (uint32_t *)(rows.single + block / 2);
    rows.half_turned = (uint16_t *)rows.single_turned;
    rows.pairs_across = (uint32_t *)(rows.single_turned + block / 2);
    return rows;
}

static One memory_of(const Call *call, int thread) {
    int64_t width = width_of(call), size = size_of(call), block = width * size;
    float *at = call->scratch + thread * scratch_of(call);
    memset(at, 0, 4 * scratch_of(call)); /* columns beyond the head size stay zero */
    One one = {.call = call, .width = width, .size = size};
    one.halves = call->is_bfloat16 && has_half_products();
    Rows *inputs[] = {&one.query, &one.key, &one.value, &one.given};
    for (int i = 0; i < 4; i++, at += 2 * block) *inputs[i] = rows_at(at, block);
    one.to_key = at;
    one.to_value = one.to_key + block;
    one.passing = one.to_value + block;
    one.weights = one.passing + block;
    one.gradients = one.weights + CHUNK * width;
    one.weight_pairs = (uint32_t *)(one.gradients + CHUNK * width);
    one.gradient_pairs = one.weight_pairs + CHUNK / 2 * width;
    one.left = (uint16_t *)(one.gradient_pairs + CHUNK / 2 * width);
    one.out = (float *)(one.left + BLOCK * width);
    one.delta = one.out + BLOCK * size;
    return one;
}

/* Where a row of the head begins, in numbers. */
static int64_t place_of(const One *one, int64_t row) {
    return (one->rows[row] * one->call->heads + one->head) * one->call->size;
}

static void read_row(const One *one, const void *from, int64_t row, float *restrict to) {
    int64_t size = one->call->size, d = 0;
    if (one->call->is_bfloat16) {
        const uint16_t *values = (const uint16_t *)from + place_of(one, row);
        for (; d + LANES <= size; d += LANES) store(to + d, load_bfloat16(values + d));
        for (; d < size; d++) {
            uint32_t bits = (uint32_t)values[d] << 16;
            memcpy(to + d, &bits, 4);
        }
    } else {
        memcpy(to, (const float *)from + place_of(one, row), 4 * size);
    }
}

static void write_row(const One *one, void *into, int64_t row, const float *restrict from,
                      float factor) {
    int64_t size = one->call->size, d = 0;
    if (one->call->is_bfloat16) {
        uint16_t *values = (uint16_t *)into + place_of(one, row), last[LANES];
        for (; d + LANES <= size; d += LANES) store_bfloat16(values + d, load(from + d) * factor);
        if (d < size) { /* the working memory is a whole number of vectors wide */
            store_bfloat16(last, load(from + d) * factor);
            memcpy(values + d, last, 2 * (size - d));
        }
    } else {
        float *values = (float *)into + place_of(one, row);
        for (; d + LANES <= size; d += LANES) store(values + d, load(from + d) * factor);
        for (; d < size; d++) values[d] = from[d] * factor;
    }
}

static void copy_halves(const uint16_t *from, int64_t size, uint16_t *restrict to) {
    int64_t d = 0;
    for (; d + LANES <= size; d += LANES) *(any_halves *)(to + d) = *(const any_halves *)(from + d);
    for (; d < size; d++) to[d] = from[d];
}

/* All rows of the example, and zeros behind them. */
static void read_rows(const One *one, const void *from, Rows *to) {
    int64_t size = one->size, behind = (one->filled - one->count) * size;
    if (one->halves) {
        const uint16_t *values = from;
        for (int64_t row = 0; row < one->count; row++)
            copy_halves(values + place_of(one, row), one->call->size, to->half + row * size);
        memset(to->half + one->count * size, 0, 2 * behind);
    } else {
        for (int64_t row = 0; row < one->count; row++)
            read_row(one, from, row, to->single + row * size);
        memset(to->single + one->count * size, 0, 4 * behind);
    }
}

/* Ready to be the right side of a product over D. */
static void turn(const One *one, Rows *rows) {
    if (one->halves) /* two numbers as one */
        transpose((float *)rows->half, one->filled, one->size / 2, one->size / 2,
                  (float *)rows->pairs_across, one->width);
    else
        transpose(rows->single, one->filled, one->size, one->size, rows->single_turned, one->width);
}

/* Ready to be the right side of a product over L. */
static void pair(const One *one, Rows *rows) {
    if (one->halves) pair_rows(rows->half, one->filled, one->size, rows->pairs);
}

/* Ready to be, transposed, the left side of a product over L. */
static void turn_pairs(const One *one, Rows *rows) {
    if (one->halves)
        transpose((float *)rows->pairs, one->filled / 2, one->size, one->size,
                  (float *)rows->half_turned, one->width / 2);
}

static void write_zeros(const One *one, void *into, int64_t rows) {
    memset(one->out, 0, 4 * one->size);
    for (int64_t row = 0; row < rows; row++) write_row(one, into, row, one->out, 0.0f);
}

#endif
