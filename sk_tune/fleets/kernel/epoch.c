/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Epochs of small networks that are chains of linear layers, ReLU and seeded dropout.
 *
 * A network of the fleet goes through all steps of its epochs alone, so that its weights stay in
 * the cache; networks share the threads of a call, and nothing else.  build.py compiles this
 * file and _compiled_epoch.py calls it; the fields of a call are named in both in the same
 * order.
 *
 * Weights are kept transposed, (inputs, units), with the units padded by zeros to whole
 * vectors: every product then runs along the units, without a remainder.
 *
 * Notation: B samples of a batch, D inputs and H units of a layer, C outputs; P is a number
 * of units with its padding.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a vector, and networks of a block of a product: as many sums as there are registers
 * for, beside what is multiplied. */
#if defined(__AVX512F__)
#define VECTOR 64
#define BLOCK 8
#elif defined(__AVX__)
#define VECTOR 32
#define BLOCK 4
#elif defined(__aarch64__)
#define VECTOR 16
#define BLOCK 8
#else
#define VECTOR 16
#define BLOCK 4
#endif
#define ALIGNMENT 64
#define MOST_LAYERS 16
/* Samples that a network is judged on at a time, whatever the others have. */
#define LOOKED_AT_ONCE 128
#define FAILED_MEMORY 1
#define FAILED_TARGET 2
#define FAILED_PLACE 3

enum loss { CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SQUARED, ABSOLUTE, HUBER };
enum optimizer { ADAM, ADAMW, SGD, RMSPROP };
/* Numbers of an epoch: sums over its samples of losses times weights, of weights and of the
 * weights of those whose class is right; mean loss and share of hits on monitored samples. */
enum number { LOSSES, WEIGHTS, HITS, MONITOR_LOSS, MONITOR_SHARE, N_NUMBERS };

/* What all networks have in common. */
typedef struct {
    int64_t n_layers, loss, optimizer, nesterov;
    /* Of a batch, or to look at; there is room for so many. */
    int64_t most_samples;
    /* D, then H of each layer. */
    int64_t sizes[MOST_LAYERS + 1];
    int64_t has_bias[MOST_LAYERS], has_relu[MOST_LAYERS];
    /* Number of the dropout layer behind it; -1 for none. */
    int64_t dropout[MOST_LAYERS];
    int64_t has_penalty, has_clip;
} Plan;

/* One network: where its data, its numbers and its results are. */
typedef struct {
    const void *X, *y, *weight;
    const int64_t *order, *batches;
    const double *rates;
    /* Of dropout layers. */
    const int64_t *keys;
    const int32_t *thresholds;
    const void *scales;
    /* Outputs or numbers of epochs may be missing. */
    void *losses, *outputs;
    double *numbers;
    /* Samples to look at after each epoch; without numbers, none. */
    const void *monitor_X, *monitor_y;
    const int64_t *monitor_order;
    void *monitor_outputs;
    /* Steps of the optimizer, and of the masks, that came before. */
    int64_t n_samples, n_batches, n_steps, first_step, loss_stride;
    /* Batches of an epoch, and those before the first; samples of the monitor's data, and
     * those of them that are looked at. */
    int64_t n_per_epoch, n_before, n_monitor_data, n_monitored;
    double momentum, beta_2, eps, decay, smoothing, l1, clip;
    /* Weight, bias and their first and second moments, of each layer. */
    void *parts[MOST_LAYERS * 6];
} Network;

typedef struct {
    const Plan *plan;
    const Network *networks;
    const int32_t *positions;
    int64_t n_networks, predicts;
    atomic_long next;
    atomic_int failed;
} Call;

/* MurmurHash3's finaliser, as in nets/_dropout.py. */
static uint32_t mixed(uint32_t value) {
    value = (value ^ (value >> 16)) * 0x85EBCA6Bu;
    value = (value ^ (value >> 13)) * 0xC2B2AE35u;
    return value ^ (value >> 16);
}
#define GOLDEN 0x9E3779B9u

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)
#define NAME(x) NAMED(x##_, REAL)

#define REAL float
#define EXP expf
#define LOG logf
#define LOG1P log1pf
#define SQRT sqrtf
#define FABS fabsf
#include "epoch.h"
#undef REAL
#undef EXP
#undef LOG
#undef LOG1P
#undef SQRT
#undef FABS

#define REAL double
#define EXP exp
#define LOG log
#define LOG1P log1p
#define SQRT sqrt
#define FABS fabs
#include "epoch.h"

/* Have networks done by threads, of which the caller is one; return 0 or what failed. */
static int run(Call *call, void *(*work)(void *), int64_t n_threads) {
    pthread_t threads[64];
    int64_t n_started = 0;
    if (n_threads > call->n_networks) n_threads = call->n_networks;
    for (; n_started < n_threads - 1 && n_started < 64; n_started++)
        if (pthread_create(&threads[n_started], NULL, work, call)) break;
    work(call);
    for (int64_t i = 0; i < n_started; i++) pthread_join(threads[i], NULL);
    return atomic_load(&call->failed);
}

/* Train networks, or predict: `positions` are then not needed, and batches are what is computed
 * at a time. */
int sk_tune_run(const Plan *plan, const Network *networks, int64_t n_networks, const int32_t *positions,
                int64_t predicts, int64_t is_double, int64_t n_threads) {
    Call call = {.plan = plan,
                 .networks = networks,
                 .positions = positions,
                 .n_networks = n_networks,
                 .predicts = predicts};
    return run(&call, is_double ? work_double : work_float, n_threads);
}
