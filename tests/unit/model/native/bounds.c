/* Calls the kernel with batches of random sizes, every buffer exactly as large as it has to be. Built
 * with the compiler's sanitizers, so that a read or write beyond one ends it. */

#include <stdio.h>
#include <stdlib.h>

#include "attention.c"

static int up_to(int most) { return 1 + rand() % most; }

/* Numbers between -2 and 2, of either type. */
static void *numbers(int count, int is_bfloat16) {
    void *made = malloc((size_t)count * (is_bfloat16 ? 2 : 4));
    for (int i = 0; i < count; i++) {
        if (is_bfloat16)
            ((uint16_t *)made)[i] = 0x3f00 | (rand() % 2 << 15) | rand() % 256;
        else
            ((float *)made)[i] = (rand() % 2001 - 1000) / 500.0f;
    }
    return made;
}

/* One batch, there and back. */
static int try_batch(void) {
    int examples = up_to(4), heads = up_to(3), size = up_to(70), threads = up_to(2);
    int is_bfloat16 = rand() % 2, drops = rand() % 2, num_rows = 0, num_seen = 0, longest = 0;
    int64_t starts[5] = {0}, sources[4], patterns[4];
    for (int i = 0; i < examples; i++) {
        int length = up_to(rand() % 3 ? 40 : 200);
        sources[i] = rand() % 5 ? up_to(length) : length;
        patterns[i] = num_seen;
        num_seen += length * length;
        num_rows += length;
        starts[i + 1] = num_rows;
        if (length > longest) longest = length;
    }
    int64_t *rows = malloc(8 * num_rows);
    for (int i = 0; i < num_rows; i++) rows[i] = num_rows - 1 - i;
    uint8_t *seen = malloc(num_seen + 64);
    for (int i = 0; i < num_seen + 64; i++) seen[i] = rand() % 4 > 0;
    for (int i = 0; i < examples; i++) {
        int64_t length = starts[i + 1] - starts[i];
        for (int64_t k = 0; k < length; k++) seen[patterns[i] + k * length + k] = 1; /* itself */
    }
    void *tensors[8];
    for (int i = 0; i < 8; i++) tensors[i] = numbers(num_rows * heads * size, is_bfloat16);
    float *log_sum = malloc(4 * num_rows * heads);
    Call call = {.query = tensors[0], .key = tensors[1], .value = tensors[2], .given = tensors[3],
                 .result = tensors[4], .out = tensors[4], .to_query = tensors[5],
                 .to_key = tensors[6], .to_value = tensors[7], .log_sum = log_sum, .rows = rows,
                 .starts = starts, .sources = sources, .patterns = patterns, .seen = seen,
                 .examples = examples, .heads = heads, .size = size, .longest = longest,
                 .is_bfloat16 = is_bfloat16, .source_sees_all = rand() % 2,
                 .rest_sees_source = rand() % 2, .rest_only = rand() % 2, .scaling = 0.3f,
                 .kept_factor = drops ? 1.25f : 1.0f, .kept_below = drops ? 52429 : 0};
    call.scratch = malloc(4 * threads * s2s_ft_scratch(&call));
    s2s_ft_forward(&call, threads);
    s2s_ft_backward(&call, threads);
    int finite = 1;
    for (int i = 4; i < 8; i++)
        for (int64_t k = 0; !is_bfloat16 && k < (int64_t)num_rows * heads * size; k++)
            finite &= isfinite(((float *)tensors[i])[k]) != 0;
    for (int i = 0; i < 8; i++) free(tensors[i]);
    free(rows), free(seen), free(log_sum), free(call.scratch);
    return finite;
}

int main(void) {
    srand(1);
    for (int i = 0; i < 150; i++)
        if (!try_batch()) return printf("batch %d: not finite\n", i), 1;
    return 0;
}
