/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Epochs of small networks that are lists of layers.
 *
 * A thread takes a network through all steps of its epochs before the next network, so that its
 * weights stay in the cache; networks share only the threads of a call.  build.py compiles this
 * file and _compiled_epoch.py calls it; both declare the fields of a call in the same order.
 *
 * Weights are stored transposed, (inputs, units), with the units padded by zeros to whole
 * vectors: every product then runs along the units, without a remainder.
 *
 * Notation: B samples of a batch, D inputs and H units of a layer, C outputs; P is a padded number
 * of units.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a vector, and rows of a product's block: its sums fill the registers that the operands
 * leave free. */
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
/* Bytes of the nearest cache that the operands of a product may fill. */
#define NEAREST_CACHE (1 << 15)
/* Samples scored at a time, and lines whose weight gradients are summed at a time, whatever the
 * batch size. */
#define CHUNK 128
#define SUMMED 64
#define FAILED_MEMORY 1
#define FAILED_TARGET 2
#define FAILED_INDEX 3
#define FAILED_BATCH 4
#define FAILED_NAME 5

enum kind {
    LINEAR, ACTIVATION, DROPOUT, LAYER_NORM, BATCH_NORM, BRANCH, JOIN, TABLE, MEMBERS,
    MEMBER_LINEAR, NARROW, STEPS, RECURRENCE, LAST, IMAGES, CONVOLUTION, POOL, FLATTEN
};
enum function { RELU, LEAKY_RELU, TANH, LOGISTIC, ELU, SELU, SILU, GELU, MISH };
enum cell { GRU, LSTM, RNN_TANH, RNN_RELU };
/* Gates of each cell, and blocks saved for each state. */
static const int64_t GATES[] = {3, 4, 1, 1}, BLOCKS[] = {4, 6, 1, 1};
enum loss {
    CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SQUARED, ABSOLUTE, HUBER, PINBALL, DEVIANCE,
    SOFT_CROSS_ENTROPY
};
enum optimizer { ADAM, ADAMW, SGD, RMSPROP };
/* Sums over the samples of an epoch: weighted losses, weights, weights of correctly predicted
 * samples, and the weighted squared error of each output. */
enum sum { LOSSES, WEIGHTS, HITS, SQUARES };

/* Map from outputs to predictions. */
enum link { IDENTITY, SIGMOID, SOFTMAX, EXPONENTIAL };

/* A layer with D inputs and H outputs, the same in all networks. */
typedef struct {
    int64_t kind, n_in, n_out;
    /* Members with separate parameters; for MEMBERS, the number of members. */
    int64_t n_members;
    /* Lines of a sample: the steps of a sequence (also for STEPS and LAST), or 1. */
    int64_t n_lines;
    /* Index of the first parameter (the weight; the bias follows) and of the first buffer (running
     * mean, running variance, number of batches).  TABLE has others: see table. */
    int64_t parameter, buffer;
    /* The function of an activation, the number of a dropout layer, the cell of a recurrence, or
     * the other end of a residual block: JOIN adds the input of BRANCH. */
    int64_t option;
    /* Slope or scale of an activation below 0; epsilon of a normalisation. */
    double number;
    /* Weight of a batch in the running statistics. */
    double momentum;
    /* Places (pixels) of a sample in the input and in the output, each with all channels. */
    int64_t n_before, n_places;
    /* Window of each output place, (n_places, n_cells).  POOL: input places, -1 outside the input.
     * CONVOLUTION: the first of each run of `n_run` neighbours among the `n_around` places of the
     * zero-padded input; `inner` are the places of the input itself. */
    int64_t n_cells, n_run, n_around;
    const int32_t *cells, *inner;
    /* Divisors of the window sums; NULL for maxima. */
    const double *counts;
} Layer;

/* Columns of a table, in this order: an embedded number becomes `size` numbers by a line with bends
 * at bins or, if there are frequencies, by its waves and ReLU; a plain number stays; a category
 * becomes the `category_size` numbers of its code. */
typedef struct {
    const int64_t *columns;
    int64_t n_embedded, n_bins, n_frequencies, size, n_plain, n_categories, category_size;
} Table;

/* A parameter: matrices as the kernel stores them; torch's are transposed if `is_turned`.  A row
 * has two indices, the second of size `n_inner`; torch has them in reverse order. */
typedef struct {
    int64_t n_matrices, n_rows, n_columns, is_turned, is_penalised, n_inner;
} Parameter;

/* Settings that all networks of a call share. */
typedef struct {
    const Layer *layers;
    const Parameter *parameters;
    /* Level of each output of a pinball loss; power of a deviance. */
    const double *loss_options;
    Table table;
    /* Members share matrices; the mean of their predictions is the prediction. */
    int64_t n_members, link;
    int64_t n_layers, n_parameters, loss, optimizer, nesterov;
    /* The first layer with parameters; the gradient by its inputs is not needed. */
    int64_t first;
    /* Capacity in samples: of the largest batch, or of monitor samples scored at a time. */
    int64_t most_samples;
    int64_t has_dropout, has_penalty, has_clip;
} Fleet;

/* One network: addresses of its data, parameters and results. */
typedef struct {
    const void *X, *y, *weight;
    const int64_t *order, *batches;
    const double *rates;
    /* For each dropout layer. */
    const int64_t *keys;
    const int32_t *thresholds;
    const void *scales;
    /* Value, first and second moment of each parameter; the buffers. */
    void *const *parts, *const *buffers;
    /* Loss of each batch; predictions, or outputs for monitor samples; sums of each epoch, each
     * followed by the sums of the monitor after it. */
    void *losses, *outputs;
    double *sums;
    /* Monitor samples, scored after each epoch. */
    const void *monitor_X, *monitor_y, *monitor_weight;
    const int64_t *monitor_order;
    /* `n_steps` and `first_step` count earlier steps of the optimizer and of the masks. */
    int64_t n_samples, n_batches, n_steps, first_step, loss_stride;
    /* Batches per epoch; earlier batches; samples of the monitor's data; monitor samples among
     * these. */
    int64_t n_per_epoch, n_before, n_monitor_data, n_monitored;
    double momentum, beta_2, eps, decay, smoothing, l1, clip;
} Network;

typedef struct {
    const Fleet *fleet;
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

/* 1 / k!. */
static const double INVERSE_FACTORIALS[] = {
    1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
    1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800,
    1.0 / 87178291200, 1.0 / 1307674368000, 1.0 / 20922789888000, 1.0 / 355687428096000};
/* Coefficients of rational approximations, highest power first: erf(x) / x by x^2 up to x = 1, and
 * erfc(x) e^(x^2) by x up to 8.  The leading coefficient of the denominators, 1, is omitted. */
static const double ERF_ABOVE[] = {9.60497373987051638749e0, 9.00260197203842689217e1,
                                   2.23200534594684319226e3, 7.00332514112805075473e3,
                                   5.55923013010394962768e4};
static const double ERF_BELOW[] = {3.35617141647503099647e1, 5.21357949780152679795e2,
                                   4.59432382970980127987e3, 2.26290000613890934246e4,
                                   4.92673942608635921086e4};
static const double ERFC_ABOVE[] = {2.46196981473530512524e-10, 5.64189564831068821977e-1,
                                    7.46321056442269912687e0, 4.86371970985681366614e1,
                                    1.96520832956077098242e2, 5.26445194995477358631e2,
                                    9.34528527171957607540e2, 1.02755188689515710272e3,
                                    5.57535335369399327526e2};
static const double ERFC_BELOW[] = {1.32281951154744992508e1, 8.67072140885989742329e1,
                                    3.54937778887819891062e2, 9.75708501743205489753e2,
                                    1.82390916687909736289e3, 2.24633760818710981792e3,
                                    1.65666309194161350182e3, 5.57535340817727675546e2};

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)
#define NAME(x) NAMED(x##_, REAL)

#define REAL float
#define INTEGER int32_t
#define EXP expf
#define LOG logf
#define POW powf
#define LOG1P log1pf
#define SQRT sqrtf
#define FABS fabsf
/* Format of a float: bits of the mantissa, exponent of 1.  Terms and range of the exponential.
 * ln 2 in two parts, the first with few bits. */
#define MANTISSA 23
#define ONE 127
#define POWERS 7
#define LEAST_EXPONENT (-87.3f)
#define MOST_EXPONENT 88.3f
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#include "arithmetic.h"
#include "layers.h"
#include "epoch.h"
#undef V
#undef I
#undef LANES
#undef AT
#undef OFFSET
#undef REAL
#undef INTEGER
#undef EXP
#undef LOG
#undef POW
#undef LOG1P
#undef SQRT
#undef FABS
#undef MANTISSA
#undef ONE
#undef POWERS
#undef LEAST_EXPONENT
#undef MOST_EXPONENT
#undef LN2_HIGH
#undef LN2_LOW

#define REAL double
#define INTEGER int64_t
#define EXP exp
#define LOG log
#define POW pow
#define LOG1P log1p
#define SQRT sqrt
#define FABS fabs
#define MANTISSA 52
#define ONE 1023
#define POWERS 13
#define LEAST_EXPONENT (-708.0)
#define MOST_EXPONENT 709.0
#define LN2_HIGH 0.693145751953125
#define LN2_LOW 1.42860682030941723212e-6
#include "arithmetic.h"
#include "layers.h"
#include "epoch.h"

/* Process networks in threads, including the calling one; return 0 or an error code. */
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

/* ABI version; raise it when the meaning of a struct or of a number for a name changes. */
int sk_tune_form(void) { return 10; }

/* Offset of each struct field, which the caller compares with its own. */
typedef struct {
    const char *name;
    int64_t offset, size;
} Field;
#define WHOLE(type) {#type, 0, sizeof(type)}
#define FIELD(type, part, name) \
    {#type "." #name, offsetof(type, part name), sizeof(((type *)0)->part name)}
#define L(name) FIELD(Layer, , name)
#define R(name) FIELD(Parameter, , name)
#define P(name) FIELD(Fleet, , name)
#define T(name) FIELD(Fleet, table., name)
#define N(name) FIELD(Network, , name)
static const Field LAYOUT[] = {
    WHOLE(Layer), L(kind), L(n_in), L(n_out), L(n_members), L(n_lines), L(parameter), L(buffer),
    L(option), L(number), L(momentum), L(n_before), L(n_places), L(n_cells), L(n_run), L(n_around),
    L(cells), L(inner), L(counts),
    WHOLE(Parameter), R(n_matrices), R(n_rows), R(n_columns), R(is_turned), R(is_penalised),
    R(n_inner),
    WHOLE(Fleet), P(layers), P(parameters), P(loss_options), T(columns), T(n_embedded), T(n_bins), T(n_frequencies),
    T(size), T(n_plain), T(n_categories), T(category_size), P(n_members), P(link), P(n_layers),
    P(n_parameters), P(loss), P(optimizer), P(nesterov), P(first), P(most_samples), P(has_dropout),
    P(has_penalty), P(has_clip),
    WHOLE(Network), N(X), N(y), N(weight), N(order), N(batches), N(rates), N(keys), N(thresholds),
    N(scales), N(parts), N(buffers), N(losses), N(outputs), N(sums), N(monitor_X), N(monitor_y),
    N(monitor_weight), N(monitor_order), N(n_samples), N(n_batches), N(n_steps), N(first_step),
    N(loss_stride), N(n_per_epoch), N(n_before), N(n_monitor_data), N(n_monitored), N(momentum),
    N(beta_2), N(eps), N(decay), N(smoothing), N(l1), N(clip)};

const Field *sk_tune_layout(int64_t *n_fields) {
    *n_fields = sizeof(LAYOUT) / sizeof(LAYOUT[0]);
    return LAYOUT;
}

static int is_below(int64_t number, int64_t end) { return number >= 0 && number < end; }

/* Whether all enum values of a fleet are defined; `update` checks the optimizer. */
static int is_valid_fleet(const Fleet *fleet) {
    int is_valid = is_below(fleet->loss, SOFT_CROSS_ENTROPY + 1);
    is_valid = is_valid && is_below(fleet->link, EXPONENTIAL + 1);
    for (int64_t l = 0; l < fleet->n_layers && is_valid; l++) {
        const Layer *layer = fleet->layers + l;
        int64_t n_options = layer->kind == ACTIVATION   ? MISH + 1
                            : layer->kind == RECURRENCE ? RNN_RELU + 1
                                                        : INT64_MAX;
        is_valid = is_below(layer->kind, FLATTEN + 1) && is_below(layer->option, n_options);
    }
    return is_valid;
}

/* Train networks, or predict in chunks of the sizes `batches`; only dropout reads `positions`. */
int sk_tune_run(const Fleet *fleet, const Network *networks, int64_t n_networks,
                const int32_t *positions, int64_t predicts, int64_t is_double, int64_t n_threads) {
    if (!is_valid_fleet(fleet)) return FAILED_NAME;
    Call call = {.fleet = fleet,
                 .networks = networks,
                 .positions = positions,
                 .n_networks = n_networks,
                 .predicts = predicts};
    return run(&call, is_double ? work_double : work_float, n_threads);
}
