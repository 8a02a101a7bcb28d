/* Attention of a packed batch, forward and backward, an example and a head at a time.
 *
 *     rows of an example    s1 s2 s3 | t1 t2 p1 p2      source, then all that follows it (rest)
 *     source rows           look at source keys
 *     rest rows             look at all keys
 *     seen [L, L]           who of them looks at whom; read from the column on where that may be no
 *
 *     forward     P = softmax(Q K^T), O = P V              BLOCK query rows at a time
 *     backward    dS = P (dO V^T - rowsum(dO O))           CHUNK query rows at a time
 *                 dQ = dS K, dK += dS^T Q, dV += P^T dO    (FlashAttention, Dao et al. 2022,
 *                                                           appendix B: P is computed anew)
 *
 * Notable: scores never leave the cache, and no cell of padding is multiplied but for the last vector
 * of a row. All arithmetic is float32, whatever the type in memory. What dropout drops is decided by
 * a counter (example, head, row, column) and the seed, so it is the same on the way back and with any
 * number of threads; nothing is added up across threads.
 *
 * Letters: C packed rows, H heads, D head size, L rows of an example.
 */

#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "example.h"

static void begin(One *one, int64_t pair_number) {
    const Call *call = one->call;
    int64_t example = pair_number / call->heads, first = call->starts[example];
    one->pair = (uint32_t)pair_number;
    one->head = pair_number % call->heads;
    one->rows = call->rows + first;
    one->count = call->starts[example + 1] - first;
    one->filled = rounded_up(one->count + STEP, STEP);
    one->source = call->sources[example];
    one->seen = call->seen + call->patterns[example];
    read_rows(one, call->query, &one->query);
    read_rows(one, call->key, &one->key);
    read_rows(one, call->value, &one->value);
    turn(one, &one->key);
}

/* Rows and keys of a part: [start, stop) of the queries over the first `keys`. */
typedef struct {
    int64_t start, stop, keys, padded, hidden_from;
    int is_first; /* on the way back: the rest, which looks at all keys */
} Part;

static Part part_of(const One *one, int is_rest) {
    int64_t sees = is_rest ? one->call->rest_sees_source : one->call->source_sees_all;
    int64_t keys = is_rest ? one->count : one->source;
    Part part = {.start = is_rest ? one->source : 0, .stop = keys, .keys = keys};
    part.padded = rounded_up(keys, STEP);
    part.hidden_from = sees ? one->source : 0;
    part.is_first = is_rest;
    return part;
}

/* [BLOCK, padded] = rows of `left` from `row` on, times `right` transposed. */
static void times_turned(const One *one, const Rows *left, int64_t row, const Rows *right, Part part,
                         float *out) {
    int64_t size = one->size, width = one->width;
    if (one->halves)
        half_product(left->half + row * size, size, right->pairs_across, width, size, out, width,
                     BLOCK, part.padded, 0);
    else
        single_product(left->single + row * size, size, 1, right->single_turned, width,
                      one->call->size, out, width, BLOCK, part.padded, 0);
}

/* [BLOCK, S] = weights or gradients [BLOCK, keys] times `right`. */
static void times(const One *one, const float *left, const Rows *right, Part part) {
    int64_t size = one->size, width = one->width;
    if (!one->halves) {
        single_product(left, width, 1, right->single, size, part.keys, one->out, size, BLOCK, size, 0);
        return;
    }
    for (int64_t r = 0; r < BLOCK; r++)
        for (int64_t k = 0; k < part.padded; k += LANES)
            store_bfloat16(one->left + r * width + k, load(left + r * width + k));
    half_product(one->left, width, right->pairs, size, part.padded, one->out, size, BLOCK, size, 0);
}

/* Scores of a query with LANES keys from `k` on, of their product; a query always sees itself. */
static inline floats scored(const One *one, Part part, int64_t row, int64_t k, floats product) {
    floats x = product * one->call->scaling;
    if (k + LANES <= part.hidden_from) return x;
    const uint8_t *seen = one->seen + row * one->count + k;
    ints looks = __builtin_convertvector(*(const any_bytes *)seen, ints) != 0;
    looks &= lanes() < (int32_t)(part.keys - k);
    return choose(looks, x, each(-INFINITY));
}

/* Zero where dropout drops; [BLOCK, padded] of the queries from `row` on. */
static void drop(const One *one, Part part, int64_t row, float *values) {
    for (int64_t k = 0; k < part.padded; k += LANES)
        for (int r = 0; r < BLOCK; r += 8) {
            words bits[4];
            random_words(one->call->seed, (uint32_t)k, (uint32_t)(row + r), one->pair, bits);
            for (int i = 0; i < 8; i++) {
                words half = i % 2 ? bits[i / 2] >> 16 : bits[i / 2] & 0xffff;
                float *at = values + (r + i) * one->width + k;
                store(at, choose((ints)(half < one->call->kept_below), load(at), each(0.0f)));
            }
        }
}

/* Products of a query become exponentials; returns their sum, and in `top` what was subtracted. */
static float exponentials(const One *one, Part part, int64_t row, float *values, float *top) {
    floats largest = each(-INFINITY), sum = {0};
    for (int64_t k = 0; k < part.padded; k += LANES) {
        floats x = scored(one, part, row, k, load(values + k));
        largest = choose(x > largest, x, largest);
        store(values + k, x);
    }
    *top = largest[0];
    for (int i = 1; i < LANES; i++) *top = largest[i] > *top ? largest[i] : *top;
    for (int64_t k = 0; k < part.padded; k += LANES) {
        floats y = exponential(load(values + k) - *top);
        sum += y;
        store(values + k, y);
    }
    return sum_of(sum);
}

static void forward_part(const One *one, Part part) {
    const Call *call = one->call;
    float *weights = one->weights;
    for (int64_t row = part.start; row < part.stop; row += BLOCK) {
        int64_t real = part.stop - row < BLOCK ? part.stop - row : BLOCK;
        float sums[BLOCK], top;
        times_turned(one, &one->query, row, &one->key, part, weights);
        for (int64_t r = 0; r < real; r++) {
            sums[r] = exponentials(one, part, row + r, weights + r * one->width, &top);
            call->log_sum[one->rows[row + r] * call->heads + one->head] = top + logf(sums[r]);
        }
        if (call->kept_below) drop(one, part, row, weights);
        times(one, weights, &one->value, part);
        for (int64_t r = 0; r < real; r++)
            write_row(one, call->out, row + r, one->out + r * one->size,
                      call->kept_factor / sums[r]);
    }
}

/* Weights and the gradients of scores of at most BLOCK queries; those of no query are zero. */
static void weights_and_gradients(const One *one, Part part, int64_t row, int64_t real,
                                  float *weights, float *gradients) {
    const Call *call = one->call;
    times_turned(one, &one->query, row, &one->key, part, weights);
    times_turned(one, &one->given, row, &one->value, part, gradients);
    if (call->kept_below) drop(one, part, row, gradients);
    for (int64_t r = 0; r < real; r++) {
        float log_sum = call->log_sum[one->rows[row + r] * call->heads + one->head];
        float *weight = weights + r * one->width, *gradient = gradients + r * one->width;
        for (int64_t k = 0; k < part.padded; k += LANES) {
            floats p = exponential(scored(one, part, row + r, k, load(weight + k)) - log_sum);
            store(weight + k, p);
            floats g = load(gradient + k) * call->kept_factor - one->delta[row + r];
            store(gradient + k, p * g);
        }
    }
    for (int64_t r = real; r < BLOCK; r++) {
        memset(weights + r * one->width, 0, 4 * part.padded);
        memset(gradients + r * one->width, 0, 4 * part.padded);
    }
}

/* Two rows each of a block side by side. */
static void pair_block(const One *one, Part part, const float *block, uint32_t *pairs) {
    for (int64_t r = 0; r < BLOCK; r += 2)
        for (int64_t k = 0; k < part.padded; k += LANES) {
            const float *upper = block + r * one->width + k;
            store_pairs(pairs + r / 2 * one->width + k, load(upper), load(upper + one->width));
        }
}

/* What the queries [start, stop) add to the gradients of keys and values. */
static void add_to_keys(const One *one, Part part, int64_t start, int64_t stop) {
    int adds = !part.is_first || start > part.start;
    int64_t size = one->size, width = one->width, count = stop - start;
    if (one->halves) {
        int64_t inner = rounded_up(count, STEP), blocks = rounded_up(count, BLOCK);
        int64_t missing = (inner - blocks) / 2 * width;
        memset(one->gradient_pairs + blocks / 2 * width, 0, 4 * missing);
        memset(one->weight_pairs + blocks / 2 * width, 0, 4 * missing);
        half_product(one->query.half_turned + start, width, one->gradient_pairs, width, inner,
                     one->to_key, width, size, part.padded, adds);
        half_product(one->given.half_turned + start, width, one->weight_pairs, width, inner,
                     one->to_value, width, size, part.padded, adds);
        return;
    }
    int64_t keys = rounded_up(part.keys, ROWS);
    single_product(one->gradients, 1, width, one->query.single + start * size, size, count,
                  one->to_key, size, keys, size, adds);
    single_product(one->weights, 1, width, one->given.single + start * size, size, count,
                  one->to_value, size, keys, size, adds);
}

static void backward_part(const One *one, Part part) {
    const Call *call = one->call;
    for (int64_t start = part.start; start < part.stop; start += CHUNK) {
        int64_t stop = start + CHUNK < part.stop ? start + CHUNK : part.stop;
        for (int64_t row = start; row < stop; row += BLOCK) {
            int64_t real = stop - row < BLOCK ? stop - row : BLOCK, at = (row - start) * one->width;
            float *weights = one->weights + at, *gradients = one->gradients + at;
            weights_and_gradients(one, part, row, real, weights, gradients);
            times(one, gradients, &one->key, part);
            for (int64_t r = 0; r < real; r++)
                write_row(one, call->to_query, row + r, one->out + r * one->size, call->scaling);
            if (call->kept_below) drop(one, part, row, weights);
            if (one->halves) {
                pair_block(one, part, weights, one->weight_pairs + at / 2);
                pair_block(one, part, gradients, one->gradient_pairs + at / 2);
            }
        }
        add_to_keys(one, part, start, stop);
    }
}

static void forward_pair(One *one, int64_t pair_number) {
    begin(one, pair_number);
    pair(one, &one->value);
    if (one->call->rest_only)
        write_zeros(one, one->call->out, one->source);
    else
        forward_part(one, part_of(one, 0));
    forward_part(one, part_of(one, 1));
}

/* The sums of (dO O) of each row. */
static void sum_given(const One *one) {
    const Call *call = one->call;
    float *given = one->out, *result = one->out + one->size;
    memset(one->out, 0, 8 * one->size);
    for (int64_t row = 0; row < one->count; row++) {
        floats sum = {0};
        read_row(one, call->given, row, given);
        read_row(one, call->result, row, result);
        for (int64_t d = 0; d < one->size; d += LANES) sum += load(given + d) * load(result + d);
        one->delta[row] = sum_of(sum);
    }
}

static void backward_pair(One *one, int64_t pair_number) {
    begin(one, pair_number);
    const Call *call = one->call;
    int64_t bytes = 4 * one->width * one->size;
    read_rows(one, call->given, &one->given);
    turn(one, &one->value);
    pair(one, &one->key);
    pair(one, &one->query);
    pair(one, &one->given);
    turn_pairs(one, &one->query);
    turn_pairs(one, &one->given);
    sum_given(one);
    if (one->count == one->source) { /* nothing that would look at all keys */
        memset(one->to_key, 0, bytes);
        memset(one->to_value, 0, bytes);
    }
    backward_part(one, part_of(one, 1));
    if (call->rest_only)
        write_zeros(one, call->to_query, one->source);
    else
        backward_part(one, part_of(one, 0));
    float *gradients[] = {one->to_key, one->to_value}, factors[] = {call->scaling, call->kept_factor};
    void *into[] = {call->to_key, call->to_value};
    for (int i = 0; i < 2; i++) {
        float *rows = gradients[i];
        if (one->halves) {
            transpose(rows, one->size, one->width, one->filled, one->passing, one->size);
            rows = one->passing;
        }
        for (int64_t row = 0; row < one->count; row++)
            write_row(one, into[i], row, rows + row * one->size, factors[i]);
    }
}

static void in_threads(const Call *call, int threads, void (*work)(One *, int64_t)) {
#pragma omp parallel num_threads(threads)
    {
        int thread = 0;
#ifdef _OPENMP
        thread = omp_get_thread_num();
#endif
        One one = memory_of(call, thread);
        if (one.halves) begin_half_products();
#pragma omp for schedule(dynamic, 4)
        for (int64_t pair = 0; pair < call->examples * call->heads; pair++) work(&one, pair);
        if (one.halves) end_half_products();
    }
}

void s2s_ft_forward(const Call *call, int threads) { in_threads(call, threads, forward_pair); }
void s2s_ft_backward(const Call *call, int threads) { in_threads(call, threads, backward_pair); }

/* Floats of working memory that a thread needs. */
int64_t s2s_ft_scratch(const Call *call) { return scratch_of(call); }
