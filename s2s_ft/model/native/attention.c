/* Attention of a packed batch, forward and backward, an example and a head at a time.
 *
 *     rows of an example    s1 s2 s3 | t1 t2 p1 p2      source, then all that follows it (rest)
 *     source rows           look at source keys
 *     rest rows             look at all keys
 *     seen [L, L]           who of them looks at whom; read from the column on where that may be no
 *
 *     forward     P = softmax(Q K^T), O = P V              ROWS query rows at a time
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

static const float HIDDEN = -30000.0f;

static void begin(One *one, int64_t pair) {
    const Call *call = one->call;
    int64_t example = pair / call->heads, first = call->starts[example];
    one->pair = (uint32_t)pair;
    one->head = pair % call->heads;
    one->rows = call->rows + first;
    one->count = call->starts[example + 1] - first;
    one->source = call->sources[example];
    one->seen = call->seen + call->patterns[example];
    read_rows(one, call->query, one->query, call->scaling);
    read_rows(one, call->key, one->key, 1.0f);
    read_rows(one, call->value, one->value, 1.0f);
    transpose(one->key, one->width, one->size, one->key_across, one->width);
}

/* Rows and keys of a part: [row, stop) of the queries over the first `keys`. */
typedef struct {
    int64_t start, stop, keys, padded, hidden_from;
} Part;

static Part part_of(const One *one, int is_rest) {
    int64_t sees = is_rest ? one->call->rest_sees_source : one->call->source_sees_all;
    int64_t keys = is_rest ? one->count : one->source;
    Part part = {.start = is_rest ? one->source : 0, .stop = keys, .keys = keys};
    part.padded = rounded_up(keys, PAIR);
    part.hidden_from = sees ? one->source : 0;
    return part;
}

/* [ROWS, padded] scores of the queries from `row` on. */
static void score(const One *one, Part part, int64_t row, int64_t real, float *scores) {
    product(one->query + row * one->size, one->size, 1, one->key_across, one->width, one->call->size,
            scores, one->width, part.padded, 0);
    for (int64_t r = 0; r < ROWS; r++) {
        float *of_row = scores + r * one->width;
        if (r < real && part.hidden_from < part.keys) {
            const uint8_t *seen = one->seen + (row + r) * one->count;
            for (int64_t k = part.hidden_from / LANES * LANES; k < part.keys; k += LANES) {
                ints looks = __builtin_convertvector(*(const any_bytes *)(seen + k), ints) != 0;
                store(of_row + k, choose(looks, load(of_row + k), each(HIDDEN)));
            }
        }
        for (int64_t k = part.keys; k < part.padded; k++) of_row[k] = -INFINITY;
    }
}

/* Zero where dropout drops; [ROWS, padded] of the queries from `row` on. */
static void drop(const One *one, Part part, int64_t row, float *values) {
    for (int64_t k = 0; k < part.padded; k += LANES) {
        words bits[4];
        random_words(one->call->seed, (uint32_t)k, (uint32_t)row, one->pair, bits);
        for (int r = 0; r < ROWS; r++) {
            words half = r % 2 ? bits[r / 2] >> 16 : bits[r / 2] & 0xffff;
            float *at = values + r * one->width + k;
            store(at, choose((ints)(half < one->call->kept_below), load(at), each(0.0f)));
        }
    }
}

/* Scores of a row become exponentials; returns their sum, and in `top` what was subtracted. */
static float exponentials(float *scores, int64_t padded, float *top) {
    floats largest = load(scores), sum = {0};
    for (int64_t k = LANES; k < padded; k += LANES)
        largest = choose(load(scores + k) > largest, load(scores + k), largest);
    *top = largest[0];
    for (int i = 1; i < LANES; i++) *top = largest[i] > *top ? largest[i] : *top;
    for (int64_t k = 0; k < padded; k += LANES) {
        floats y = exponential(load(scores + k) - *top);
        sum += y;
        store(scores + k, y);
    }
    return sum_of(sum);
}

static void forward_part(const One *one, Part part) {
    const Call *call = one->call;
    float *weights = one->weights;
    for (int64_t row = part.start; row < part.stop; row += ROWS) {
        int64_t real = part.stop - row < ROWS ? part.stop - row : ROWS;
        float sums[ROWS], top;
        score(one, part, row, real, weights);
        for (int64_t r = 0; r < real; r++) {
            sums[r] = exponentials(weights + r * one->width, part.padded, &top);
            call->log_sum[one->rows[row + r] * call->heads + one->head] = top + logf(sums[r]);
        }
        if (call->kept_below) drop(one, part, row, weights);
        product(weights, one->width, 1, one->value, one->size, part.keys, one->out, one->size,
                one->size, 0);
        for (int64_t r = 0; r < real; r++)
            write_row(one, call->out, row + r, one->out + r * one->size,
                      call->kept_factor / sums[r]);
    }
}

/* Weights and the gradients of scores of at most ROWS queries; those of no query are zero. */
static void weights_and_gradients(const One *one, Part part, int64_t row, int64_t real,
                                  float *weights, float *gradients) {
    const Call *call = one->call;
    score(one, part, row, real, weights);
    product(one->given + row * one->size, one->size, 1, one->value_across, one->width, call->size,
            gradients, one->width, part.padded, 0);
    if (call->kept_below) drop(one, part, row, gradients);
    for (int64_t r = 0; r < real; r++) {
        float log_sum = call->log_sum[one->rows[row + r] * call->heads + one->head];
        float *weight = weights + r * one->width, *gradient = gradients + r * one->width;
        for (int64_t k = 0; k < part.padded; k += LANES) {
            floats p = exponential(load(weight + k) - log_sum);
            store(weight + k, p);
            floats g = load(gradient + k) * call->kept_factor - one->delta[row + r];
            store(gradient + k, p * g);
        }
    }
    for (int64_t r = real; r < ROWS; r++) {
        memset(weights + r * one->width, 0, 4 * part.padded);
        memset(gradients + r * one->width, 0, 4 * part.padded);
    }
}

static void backward_part(const One *one, Part part) {
    const Call *call = one->call;
    int64_t size = one->size, width = one->width;
    for (int64_t start = part.start; start < part.stop; start += CHUNK) {
        int64_t stop = start + CHUNK < part.stop ? start + CHUNK : part.stop;
        for (int64_t row = start; row < stop; row += ROWS) {
            int64_t real = stop - row < ROWS ? stop - row : ROWS;
            float *weights = one->weights + (row - start) * width;
            float *gradients = one->gradients + (row - start) * width;
            weights_and_gradients(one, part, row, real, weights, gradients);
            product(gradients, width, 1, one->key, size, part.keys, one->out, size, size, 0);
            for (int64_t r = 0; r < real; r++)
                write_row(one, call->to_query, row + r, one->out + r * size, call->scaling);
            if (call->kept_below) drop(one, part, row, weights);
        }
        for (int64_t key = 0; key < part.keys; key += ROWS) {
            product(one->gradients + key, 1, width, one->query + start * size, size, stop - start,
                    one->to_key + key * size, size, size, 1);
            product(one->weights + key, 1, width, one->given + start * size, size, stop - start,
                    one->to_value + key * size, size, size, 1);
        }
    }
}

static void forward_pair(One *one, int64_t pair) {
    begin(one, pair);
    if (one->call->rest_only)
        write_zeros(one, one->call->out, one->source);
    else
        forward_part(one, part_of(one, 0));
    forward_part(one, part_of(one, 1));
}

static void backward_pair(One *one, int64_t pair) {
    begin(one, pair);
    const Call *call = one->call;
    read_rows(one, call->given, one->given, 1.0f);
    transpose(one->value, one->width, one->size, one->value_across, one->width);
    memset(one->to_key, 0, 4 * one->width * one->size);
    memset(one->to_value, 0, 4 * one->width * one->size);
    memset(one->out, 0, 4 * one->size);
    for (int64_t row = 0; row < one->count; row++) {
        floats sum = {0};
        read_row(one, call->result, row, one->out, 1.0f);
        for (int64_t d = 0; d < one->size; d += LANES)
            sum += load(one->out + d) * load(one->given + row * one->size + d);
        one->delta[row] = sum_of(sum);
    }
    if (call->rest_only)
        write_zeros(one, call->to_query, one->source);
    else
        backward_part(one, part_of(one, 0));
    backward_part(one, part_of(one, 1));
    for (int64_t row = 0; row < one->count; row++) {
        write_row(one, call->to_key, row, one->to_key + row * one->size, 1.0f);
        write_row(one, call->to_value, row, one->to_value + row * one->size, call->kept_factor);
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
#pragma omp for schedule(dynamic, 4)
        for (int64_t pair = 0; pair < call->examples * call->heads; pair++) work(&one, pair);
    }
}

void s2s_ft_forward(const Call *call, int threads) { in_threads(call, threads, forward_pair); }

void s2s_ft_backward(const Call *call, int threads) { in_threads(call, threads, backward_pair); }

/* Floats of working memory that a thread needs. */
int64_t s2s_ft_scratch(const Call *call) { return scratch_of(call); }
