/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Layers of one network: outputs of a batch, and derivatives; for numbers of one kind.
 *
 * What is between the units and their padding is 0 in all outputs and derivatives.
 */

/* What a layer has in memory: input and output, (B, P), which may be the same; what its
 * derivative needs, (B, P); and of a normalisation the inverse deviations, P or B of them. */
typedef struct {
    REAL *x, *y, *kept, *scale;
} NAME(Slot);

/* The memory of a thread, and what it is at. */
typedef struct {
    const Plan *plan;
    const Network *network;
    const int32_t *positions;
    /* Steps of each sample of the batch, where samples are sequences. */
    int64_t *lengths;
    /* Samples of the batch, times members behind the layer of that kind, and its step; -1 in
     * evaluation mode. */
    int64_t n, step;
    /* All parameters, one after the other: values, derivatives and both moments. */
    REAL *p, *g, *m, *v;
    int64_t n_numbers;
    /* Where each parameter begins, and where the last one ends. */
    int64_t *places;
    NAME(Slot) *slots;
    /* Derivatives by the output of the layer at hand, and memory for those by its input. */
    REAL *dy, *dx;
    /* One weight matrix the other way round; the inputs, shares in the loss, and outputs that
     * predict as all members together. */
    REAL *turned, *inputs, *share, *combined;
    /* Windows of some places; a sample among zeros, and derivatives by it. */
    REAL *windows, *image, *by_image;
    int64_t n_image;
    char *block, *aligned;
    size_t n_bytes;
} NAME(Worker);

static int64_t NAME(whole)(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* The number of a layer's parameter behind its first in memory. */
#define PLACE(part) (own->places[layer->parameter + (part)])

static void NAME(clear_padding)(REAL *y, int64_t n, int64_t n_units) {
    int64_t padded = NAME(whole)(n_units);
    for (int64_t i = 0; i < n && padded > n_units; i++)
        memset(y + i * padded + n_units, 0, (size_t)(padded - n_units) * sizeof(REAL));
}

static int NAME(is_relu)(const Layer *layer) {
    return layer->kind == ACTIVATION && layer->option == RELU;
}

static int NAME(has_bias)(const NAME(Worker) *own, const Layer *layer) {
    return own->network->parts[3 * (layer->parameter + 1)] != NULL;
}

/* What a layer has found becomes what the layer before it is given. */
static void NAME(swap)(NAME(Worker) *own) {
    REAL *done = own->dy;
    own->dy = own->dx, own->dx = done;
}

/* by_weight (n_rows, padded) = the sum over n lines of x^T dy; so many of them at a time that
 * their derivatives stay in the nearest cache. */
static void NAME(outer)(int64_t n_rows, int64_t padded, int64_t n, const REAL *x, int64_t x_row,
                        const REAL *dy, int64_t dy_row, REAL *by_weight) {
    if (!n) memset(by_weight, 0, (size_t)(n_rows * padded) * sizeof(REAL));
    for (int64_t i = 0; i < n; i += AT_ONCE)
        NAME(product)(n_rows, padded, n - i < AT_ONCE ? n - i : AT_ONCE, x + i * x_row, 1, x_row,
                      dy + i * dy_row, dy_row, by_weight, padded, i ? by_weight : NULL, padded);
}

/* The sum of n lines (padded). */
static void NAME(sum_lines)(int64_t n, int64_t padded, const REAL *dy, int64_t dy_row, REAL *sum) {
    memset(sum, 0, (size_t)padded * sizeof(REAL));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < padded; j++) sum[j] += dy[i * dy_row + j];
}

/* A matrix (n_in, P) the other way round, (n_out, row); what is between is 0. */
static void NAME(turn)(const REAL *w, int64_t n_in, int64_t n_out, REAL *turned) {
    int64_t row = NAME(whole)(n_in), padded = NAME(whole)(n_out);
    for (int64_t i = 0; i < n_out; i++)
        for (int64_t j = 0; j < n_in; j++) turned[i * row + j] = w[j * padded + i];
    NAME(clear_padding)(turned, n_out, n_in);
}

static void NAME(linear)(const NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t row = NAME(whole)(layer->n_in), padded = NAME(whole)(layer->n_out);
    int64_t n = own->n / layer->n_members;
    for (int64_t k = 0; k < layer->n_members; k++)
        NAME(product)(n, padded, layer->n_in, slot->x + k * n * row, row, 1,
                      own->p + PLACE(0) + k * layer->n_in * padded, padded,
                      slot->y + k * n * padded, padded, own->p + PLACE(1) + k * padded, 0);
}

static void NAME(linear_backward)(NAME(Worker) *own, const Layer *layer,
                                  const NAME(Slot) *slot, int is_first) {
    int64_t n_in = layer->n_in, n_out = layer->n_out, n = own->n / layer->n_members;
    int64_t row = NAME(whole)(n_in), padded = NAME(whole)(n_out);
    for (int64_t k = 0; k < layer->n_members; k++) {
        const REAL *dy = own->dy + k * n * padded, *x = slot->x + k * n * row;
        NAME(outer)(n_in, padded, n, x, row, dy, padded, own->g + PLACE(0) + k * n_in * padded);
        if (NAME(has_bias)(own, layer))
            NAME(sum_lines)(n, padded, dy, padded, own->g + PLACE(1) + k * padded);
        if (is_first) continue;
        NAME(turn)(own->p + PLACE(0) + k * n_in * padded, n_in, n_out, own->turned);
        NAME(product)(n, row, n_out, dy, padded, 1, own->turned, row, own->dx + k * n * row, row,
                      NULL, 0);
    }
    if (!is_first) NAME(swap)(own);
}

/* ReLU's derivative is read off its output, others are kept. */
static void NAME(activation)(const NAME(Worker) *own, const Layer *layer,
                             const NAME(Slot) *slot) {
    int64_t size = own->n * NAME(whole)(layer->n_out), function = layer->option;
    REAL *x = slot->x, *y = slot->y, number = (REAL)layer->number;
    V unread;
    if (function == RELU)
        for (int64_t i = 0; i < size; i++) y[i] = x[i] < 0 ? 0 : x[i];
    else if (own->step < 0)
        for (int64_t i = 0; i < size; i += LANES)
            AT(y + i) = NAME(function)(function, AT(x + i), number, &unread);
    else
        for (int64_t i = 0; i < size; i += LANES) {
            V slope;
            AT(y + i) = NAME(function)(function, AT(x + i), number, &slope);
            AT(slot->kept + i) = slope;
        }
    if (function == LOGISTIC) NAME(clear_padding)(y, own->n, layer->n_out);
}

static void NAME(activation_backward)(NAME(Worker) *own, const Layer *layer,
                                      const NAME(Slot) *slot) {
    int64_t size = own->n * NAME(whole)(layer->n_out);
    const REAL *restrict y = slot->y, *restrict kept = slot->kept;
    REAL *restrict dy = own->dy;
    if (layer->option == RELU)
        for (int64_t i = 0; i < size; i++) dy[i] = y[i] <= 0 ? 0 : dy[i];
    else
        for (int64_t i = 0; i < size; i++) dy[i] *= kept[i];
}

/* Dropout from one place to another, which may be the same. */
static void NAME(drop)(const NAME(Worker) *own, const Layer *layer, const REAL *x, REAL *y) {
    const Network *network = own->network;
    int64_t n_units = layer->n_out, padded = NAME(whole)(n_units), index = layer->option;
    uint32_t step = (uint32_t)(network->first_step + own->step);
    uint32_t key = mixed((uint32_t)network->keys[index] + step * GOLDEN);
    uint32_t a = key | 1, b = mixed(key ^ GOLDEN);
    int32_t threshold = network->thresholds[index];
    REAL scale = ((const REAL *)network->scales)[index];
    int64_t n = own->n / layer->n_lines, n_places = layer->n_places;
    for (int64_t i = 0; i < own->n; i++) {
        /* In torch the lines of a sample follow each other, and so do the places of a channel. */
        int64_t line = i % n * layer->n_lines + i / n;
        int64_t first = line / n_places * n_places * n_units + line % n_places;
        const int32_t *positions = own->positions + first;
        for (int64_t j = 0; j < n_units; j++) {
            int32_t bits = (int32_t)((uint32_t)positions[j * n_places] * a + b);
            /* A product, so that what is not finite stays so. */
            y[i * padded + j] = x[i * padded + j] * (bits >= threshold ? scale : 0);
        }
    }
}

static void NAME(dropout)(const NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t size = own->n * NAME(whole)(layer->n_out);
    if (own->plan->has_dropout && own->step >= 0)
        NAME(drop)(own, layer, slot->x, slot->y);
    else if (slot->x != slot->y)
        memcpy(slot->y, slot->x, (size_t)size * sizeof(REAL));
}

/* Behind ReLU what is dropped is 0 in its output, which says so already. */
static void NAME(dropout_backward)(NAME(Worker) *own, const Layer *layer) {
    int64_t size = own->n * NAME(whole)(layer->n_out);
    if (!own->plan->has_dropout) return;
    if (layer > own->plan->layers && NAME(is_relu)(layer - 1)) {
        REAL scale = ((const REAL *)own->network->scales)[layer->option];
        for (int64_t i = 0; i < size; i++) own->dy[i] *= scale;
    } else {
        NAME(drop)(own, layer, own->dy, own->dy);
    }
}

static REAL NAME(sum)(V x) {
    REAL sum = 0;
    for (int64_t k = 0; k < LANES; k++) sum += x[k];
    return sum;
}

/* Normalise over the samples of the batch; the statistics of all batches are the network's.
 * Where the padding is, the inverse deviation is 0.  0 or what failed. */
static int NAME(batch_norm)(const NAME(Worker) *own, const Layer *layer,
                            const NAME(Slot) *slot) {
    int64_t n = own->n, padded = NAME(whole)(layer->n_out);
    const REAL *weight = own->p + PLACE(0), *bias = own->p + PLACE(1);
    REAL *scale = slot->scale, *mean = slot->scale + padded, eps = (REAL)layer->number;
    void *const *buffers = own->network->buffers + layer->buffer;
    REAL *running_mean = buffers[0], *running_variance = buffers[1];
    if (own->step >= 0) {
        REAL share = (REAL)layer->momentum;
        if (n < 2) return FAILED_BATCH;
        for (int64_t j = 0; j < padded; j += LANES) {
            V sum = {0}, squares = {0};
            for (int64_t i = 0; i < n; i++) sum += AT(slot->x + i * padded + j);
            sum /= (REAL)n;
            for (int64_t i = 0; i < n; i++) {
                V z = AT(slot->x + i * padded + j) - sum;
                squares += z * z;
            }
            AT(mean + j) = sum;
            AT(scale + j) = squares / (REAL)n;
        }
        for (int64_t j = 0; j < layer->n_out; j++) {
            REAL unbiased = scale[j] * ((REAL)n / (REAL)(n - 1));
            running_mean[j] += share * (mean[j] - running_mean[j]);
            running_variance[j] += share * (unbiased - running_variance[j]);
            scale[j] = 1 / SQRT(scale[j] + eps);
        }
        ++*(int64_t *)buffers[2];
    } else {
        for (int64_t j = 0; j < layer->n_out; j++) {
            mean[j] = running_mean[j];
            scale[j] = 1 / SQRT(running_variance[j] + eps);
        }
    }
    for (int64_t i = 0; i < n * padded; i += padded)
        for (int64_t j = 0; j < padded; j += LANES) {
            V z = (AT(slot->x + i + j) - AT(mean + j)) * AT(scale + j);
            AT(slot->kept + i + j) = z;
            AT(slot->y + i + j) = z * AT(weight + j) + AT(bias + j);
        }
    return 0;
}

/* Normalise over the units of each sample. */
static void NAME(layer_norm)(const NAME(Worker) *own, const Layer *layer,
                             const NAME(Slot) *slot) {
    int64_t n_units = layer->n_out, padded = NAME(whole)(n_units);
    const REAL *weight = own->p + PLACE(0), *bias = own->p + PLACE(1);
    for (int64_t i = 0; i < own->n; i++) {
        const REAL *x = slot->x + i * padded;
        REAL *y = slot->y + i * padded, *z = slot->kept + i * padded;
        V sum = {0}, squares = {0};
        for (int64_t j = 0; j < padded; j += LANES) sum += AT(x + j);
        REAL mean = NAME(sum)(sum) / (REAL)n_units;
        for (int64_t j = 0; j < padded; j += LANES) AT(z + j) = AT(x + j) - mean;
        NAME(clear_padding)(z, 1, n_units);
        for (int64_t j = 0; j < padded; j += LANES) squares += AT(z + j) * AT(z + j);
        REAL variance = NAME(sum)(squares) / (REAL)n_units;
        REAL scale = slot->scale[i] = 1 / SQRT(variance + (REAL)layer->number);
        for (int64_t j = 0; j < padded; j += LANES) {
            V scaled = AT(z + j) * scale;
            AT(z + j) = scaled;
            AT(y + j) = scaled * AT(weight + j) + AT(bias + j);
        }
    }
}

static void NAME(norm_backward)(NAME(Worker) *own, const Layer *layer,
                                const NAME(Slot) *slot, int is_first) {
    int64_t n = own->n, n_units = layer->n_out, padded = NAME(whole)(n_units);
    const REAL *weight = own->p + PLACE(0);
    for (int64_t j = 0; j < padded; j += LANES) {
        V by_weight = {0}, by_bias = {0};
        REAL *dy = own->dy + j, *z = slot->kept + j;
        for (int64_t i = 0; i < n * padded; i += padded) {
            by_bias += AT(dy + i);
            by_weight += AT(dy + i) * AT(z + i);
        }
        AT(own->g + PLACE(0) + j) = by_weight;
        AT(own->g + PLACE(1) + j) = by_bias;
        if (layer->kind == LAYER_NORM) continue;
        V factor = AT(weight + j) * AT(slot->scale + j), mean = by_bias / (REAL)n;
        V along = by_weight / (REAL)n;
        for (int64_t i = 0; i < n * padded; i += padded)
            AT(dy + i) = factor * (AT(dy + i) - mean - AT(z + i) * along);
    }
    if (layer->kind == BATCH_NORM || is_first) return;
    for (int64_t i = 0; i < n; i++) {
        REAL *dy = own->dy + i * padded, *z = slot->kept + i * padded;
        V sum = {0}, products = {0};
        for (int64_t j = 0; j < padded; j += LANES) {
            V by_z = AT(dy + j) * AT(weight + j);
            AT(dy + j) = by_z;
            sum += by_z;
            products += by_z * AT(z + j);
        }
        REAL mean = NAME(sum)(sum) / (REAL)n_units, scale = slot->scale[i];
        REAL along = NAME(sum)(products) / (REAL)n_units;
        for (int64_t j = 0; j < padded; j += LANES)
            AT(dy + j) = scale * (AT(dy + j) - mean - AT(z + j) * along);
    }
    NAME(clear_padding)(own->dy, n, n_units);
}

/* The samples once for each member. */
static void NAME(members)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t size = own->n * NAME(whole)(layer->n_out);
    for (int64_t k = 0; k < layer->n_members; k++)
        memcpy(slot->y + k * size, slot->x, (size_t)size * sizeof(REAL));
    own->n *= layer->n_members;
}

static void NAME(members_backward)(NAME(Worker) *own, const Layer *layer) {
    own->n /= layer->n_members;
    int64_t size = own->n * NAME(whole)(layer->n_out);
    for (int64_t k = 1; k < layer->n_members; k++)
        for (int64_t i = 0; i < size; i++) own->dy[i] += own->dy[k * size + i];
}

/* Scale the units of each member, and shift them if there is a bias. */
static void NAME(scale)(const NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n = own->n / layer->n_members, padded = NAME(whole)(layer->n_out);
    for (int64_t i = 0; i < own->n; i++) {
        const REAL *weight = own->p + PLACE(0) + i / n * padded;
        const REAL *bias = own->p + PLACE(1) + i / n * padded, *x = slot->x + i * padded;
        for (int64_t j = 0; j < padded; j++) slot->y[i * padded + j] = x[j] * weight[j] + bias[j];
    }
}

static void NAME(scale_backward)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n = own->n / layer->n_members, padded = NAME(whole)(layer->n_out);
    for (int64_t k = 0; k < layer->n_members; k++)
        for (int64_t j = 0; j < padded; j += LANES) {
            V by_weight = {0}, by_bias = {0}, weight = AT(own->p + PLACE(0) + k * padded + j);
            for (int64_t i = k * n * padded + j; i < (k + 1) * n * padded; i += padded) {
                V dy = AT(own->dy + i);
                by_bias += dy;
                by_weight += dy * AT(slot->x + i);
                AT(own->dy + i) = dy * weight;
            }
            AT(own->g + PLACE(0) + k * padded + j) = by_weight;
            if (NAME(has_bias)(own, layer)) AT(own->g + PLACE(1) + k * padded + j) = by_bias;
        }
}

/* How far a number is through a bin, from 0 to 1; NaN stays. */
static inline REAL NAME(passed)(REAL x, REAL start, REAL slope) {
    REAL share = (x - start) * slope;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

/* Where the numbers of a category's code are; code 0 stands for all that are not known. */
static int64_t NAME(place_of)(const NAME(Worker) *own, const Layer *layer, int64_t column, REAL x) {
    const int64_t *known = own->network->buffers[layer->buffer + 2];
    const int64_t *offsets = own->network->buffers[layer->buffer + 3];
    const int64_t *n_codes = own->network->buffers[layer->buffer + 4];
    int64_t code = x >= 0 && x < (REAL)n_codes[column] ? (int64_t)x : 0;
    return known[code + offsets[column]];
}

/* The columns of a table as inputs.  Parameters: slopes and heights of lines, what each bin adds,
 * numbers of the codes; buffers: starts and slopes of bins, then what is known of codes. */
static void NAME(table)(const NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    const Table *table = &own->plan->table;
    int64_t size = table->size, padded = NAME(whole)(size), n_bins = table->n_bins;
    int64_t code_size = table->category_size;
    const REAL *starts = own->network->buffers[layer->buffer];
    const REAL *slopes = own->network->buffers[layer->buffer + 1];
    for (int64_t i = 0; i < own->n; i++) {
        const REAL *x = slot->x + i * NAME(whole)(layer->n_in);
        REAL *y = slot->y + i * NAME(whole)(layer->n_out);
        for (int64_t k = 0; k < table->n_numbers; k++, y += size) {
            REAL value = x[table->columns[k]];
            if (!n_bins) *y = value;
            for (int64_t j = 0; n_bins && j < size; j += LANES) {
                const REAL *weight = own->p + PLACE(2) + k * n_bins * padded + j;
                V sum = value * AT(own->p + PLACE(0) + k * padded + j) +
                        AT(own->p + PLACE(1) + k * padded + j);
                for (int64_t t = k * n_bins; t < (k + 1) * n_bins; t++, weight += padded)
                    sum += NAME(passed)(value, starts[t], slopes[t]) * AT(weight);
                memcpy(y + j, &sum, (size_t)(size - j < LANES ? size - j : LANES) * sizeof(REAL));
            }
        }
        for (int64_t k = 0; k < table->n_categories; k++, y += code_size) {
            REAL value = x[table->columns[table->n_numbers + k]];
            int64_t place = NAME(place_of)(own, layer, k, value) * NAME(whole)(code_size);
            memcpy(y, own->p + PLACE(3) + place, (size_t)code_size * sizeof(REAL));
        }
    }
}

static void NAME(table_backward)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    const Table *table = &own->plan->table;
    int64_t size = table->size, padded = NAME(whole)(size), n_bins = table->n_bins;
    int64_t code_size = table->category_size;
    const REAL *starts = own->network->buffers[layer->buffer];
    const REAL *slopes = own->network->buffers[layer->buffer + 1];
    memset(own->g + PLACE(0), 0, (size_t)(PLACE(4) - PLACE(0)) * sizeof(REAL));
    for (int64_t i = 0; i < own->n; i++) {
        const REAL *x = slot->x + i * NAME(whole)(layer->n_in);
        const REAL *dy = own->dy + i * NAME(whole)(layer->n_out);
        for (int64_t k = 0; k < table->n_numbers; k++, dy += size) {
            REAL value = x[table->columns[k]];
            for (int64_t j = 0; n_bins && j < size; j += LANES) {
                REAL *weight = own->g + PLACE(2) + k * n_bins * padded + j;
                V part = {0};
                memcpy(&part, dy + j, (size_t)(size - j < LANES ? size - j : LANES) * sizeof(REAL));
                AT(own->g + PLACE(0) + k * padded + j) += value * part;
                AT(own->g + PLACE(1) + k * padded + j) += part;
                for (int64_t t = k * n_bins; t < (k + 1) * n_bins; t++, weight += padded)
                    AT(weight) += NAME(passed)(value, starts[t], slopes[t]) * part;
            }
        }
        for (int64_t k = 0; k < table->n_categories; k++, dy += code_size) {
            REAL value = x[table->columns[table->n_numbers + k]];
            int64_t place = NAME(place_of)(own, layer, k, value) * NAME(whole)(code_size);
            REAL *code = own->g + PLACE(3) + place;
            for (int64_t j = 0; j < code_size; j++) code[j] += dy[j];
        }
    }
}

/* Add the input of a residual block to its output. */
static void NAME(join)(const NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    const REAL *block_input = own->slots[layer->option].x;
    for (int64_t i = 0; i < own->n * NAME(whole)(layer->n_out); i++)
        slot->y[i] = slot->x[i] + block_input[i];
}

#include "recurrence.h"
#include "convolution.h"

/* Outputs of all layers for n of the samples of X.  0 or what failed. */
static int NAME(forward)(NAME(Worker) *own, const REAL *X, int64_t n_samples,
                         const int64_t *order, int64_t n, int64_t step) {
    int64_t n_in = own->plan->layers[0].n_in, row = NAME(whole)(n_in);
    for (int64_t i = 0; i < n; i++) {
        if (order[i] < 0 || order[i] >= n_samples) return FAILED_PLACE;
        memcpy(own->inputs + i * row, X + order[i] * n_in, (size_t)n_in * sizeof(REAL));
    }
    own->n = n, own->step = step;
    for (int64_t l = 0; l < own->plan->n_layers; l++) {
        const Layer *layer = own->plan->layers + l;
        const NAME(Slot) *slot = own->slots + l;
        switch ((enum kind)layer->kind) {
        case LINEAR: NAME(linear)(own, layer, slot); break;
        case ACTIVATION: NAME(activation)(own, layer, slot); break;
        case DROPOUT: NAME(dropout)(own, layer, slot); break;
        case LAYER_NORM: NAME(layer_norm)(own, layer, slot); break;
        case BATCH_NORM:
            if (NAME(batch_norm)(own, layer, slot)) return FAILED_BATCH;
            break;
        case BRANCH: break;
        case JOIN: NAME(join)(own, layer, slot); break;
        case TABLE: NAME(table)(own, layer, slot); break;
        case MEMBERS: NAME(members)(own, layer, slot); break;
        case SCALE: NAME(scale)(own, layer, slot); break;
        case STEPS: NAME(steps)(own, layer, slot); break;
        case RECURRENCE: NAME(recurrence)(own, layer, slot); break;
        case LAST: NAME(last)(own, layer, slot); break;
        case IMAGES: NAME(images)(own, layer, slot); break;
        case CONVOLUTION: NAME(convolution)(own, layer, slot); break;
        case POOL: NAME(pool)(own, layer, slot); break;
        case FLATTEN: NAME(flatten)(own, layer, slot); break;
        }
    }
    return 0;
}

/* The derivatives by all parameters, from those by the outputs in `dy`. */
static void NAME(backward)(NAME(Worker) *own) {
    for (int64_t l = own->plan->n_layers - 1; l >= own->plan->first; l--) {
        const Layer *layer = own->plan->layers + l;
        const NAME(Slot) *slot = own->slots + l;
        int64_t size = own->n * NAME(whole)(layer->n_out);
        int is_first = l == own->plan->first;
        switch ((enum kind)layer->kind) {
        case LINEAR: NAME(linear_backward)(own, layer, slot, is_first); break;
        case ACTIVATION: NAME(activation_backward)(own, layer, slot); break;
        case DROPOUT: NAME(dropout_backward)(own, layer); break;
        case LAYER_NORM:
        case BATCH_NORM: NAME(norm_backward)(own, layer, slot, is_first); break;
        case JOIN: memcpy(slot->kept, own->dy, (size_t)size * sizeof(REAL)); break;
        case BRANCH:
            for (int64_t i = 0; i < size; i++)
                own->dy[i] += own->slots[layer->option].kept[i];
            break;
        case TABLE: NAME(table_backward)(own, layer, slot); break;
        case STEPS:
        case IMAGES: break; /* They have no parameters, and come first. */
        case MEMBERS: NAME(members_backward)(own, layer); break;
        case SCALE: NAME(scale_backward)(own, layer, slot); break;
        case RECURRENCE: NAME(recurrence_backward)(own, layer, slot, is_first); break;
        case LAST: NAME(last_backward)(own, layer); break;
        case CONVOLUTION: NAME(convolution_backward)(own, layer, slot, is_first); break;
        case POOL: NAME(pool_backward)(own, layer, slot); break;
        case FLATTEN: NAME(flatten_backward)(own, layer); break;
        }
    }
}

/* Whether a layer's output is asked for again after the next layer has read it. */
static int NAME(is_read_later)(const Layer *layers, int64_t l) {
    if (l < 0) return 0;
    int is_passed_on = layers[l].kind == DROPOUT && NAME(is_read_later)(layers, l - 1);
    int64_t kind = layers[l].kind;
    return is_passed_on || kind == BRANCH || kind == RECURRENCE || NAME(is_relu)(layers + l);
}

/* Whether a layer has memory for its output, instead of writing over its input. */
static int NAME(has_output)(const Layer *layers, int64_t l) {
    int64_t kind = layers[l].kind;
    if (kind == LINEAR || kind == JOIN || kind >= TABLE) return 1;
    if (layers[l].kind == BRANCH || l == 0) return 0;
    /* What dropout leaves of its output tells ReLU's derivative, too. */
    if (layers[l].kind == DROPOUT && NAME(is_relu)(layers + l - 1)) return 0;
    return NAME(is_read_later)(layers, l - 1);
}

/* The next n numbers of a thread's memory; NULL while it is counted how many there are. */
static REAL *NAME(take)(NAME(Worker) *own, int64_t n) {
    REAL *found = own->block ? (REAL *)(own->aligned + own->n_bytes) : NULL;
    own->n_bytes += ((size_t)n * sizeof(REAL) / ALIGNMENT + 1) * ALIGNMENT;
    return found;
}

/* Share the memory of a thread out. */
static void NAME(lay_out)(NAME(Worker) *own) {
    const Plan *plan = own->plan;
    int64_t most = plan->most_samples, n_most = 0, largest = 0, n_windows = 0, n = 0;
    REAL *x = own->inputs = NAME(take)(own, most * NAME(whole)(plan->layers[0].n_in));
    for (int64_t l = 0; l < plan->n_layers; l++) {
        const Layer *layer = plan->layers + l;
        NAME(Slot) *slot = own->slots + l;
        int64_t padded = NAME(whole)(layer->n_out), row = NAME(whole)(layer->n_in);
        if (most * row > n_most) n_most = most * row;
        if (layer->kind == MEMBERS) most *= layer->n_members;
        if (layer->kind == STEPS) most *= layer->n_lines;
        if (layer->kind == LAST) most /= layer->n_lines;
        if (layer->kind >= IMAGES && layer->kind <= FLATTEN)
            most = plan->most_samples * layer->n_places;
        if (layer->kind == CONVOLUTION) {
            int64_t n_channels = NAME(whole)(l ? layer->n_in : layer->n_in / layer->n_before);
            int64_t depth = layer->n_cells * layer->n_run * n_channels;
            int64_t n_image = layer->n_around * n_channels + LANES;
            if (depth > n_windows) n_windows = depth;
            if (n_image > own->n_image) own->n_image = n_image;
            if (layer->n_out * depth > largest) largest = layer->n_out * depth;
        }
        int is_norm = layer->kind == LAYER_NORM || layer->kind == BATCH_NORM;
        slot->x = x;
        slot->y = x = NAME(has_output)(plan->layers, l) ? NAME(take)(own, most * padded) : x;
        if (is_norm || layer->kind == JOIN || layer->kind == POOL ||
            (layer->kind == ACTIVATION && layer->option != RELU))
            slot->kept = NAME(take)(own, most * padded);
        if (is_norm) slot->scale = NAME(take)(own, most + 2 * padded);
        if (most * padded > n_most) n_most = most * padded;
        if (layer->kind == LINEAR && layer->n_out * row > largest)
            largest = layer->n_out * row;
        if (layer->kind == RECURRENCE) {
            int64_t size = GATES[layer->option] * padded * padded;
            slot->kept = NAME(take)(own, most * BLOCKS[layer->option] * padded);
            if (size < layer->n_out * row) size = layer->n_out * row;
            if (size > largest) largest = size;
        }
    }
    for (int64_t q = 0; q < plan->n_parameters; q++) {
        own->places[q] = n;
        n += plan->parameters[q].n_matrices * plan->parameters[q].n_rows *
             NAME(whole)(plan->parameters[q].n_columns);
    }
    own->places[plan->n_parameters] = own->n_numbers = n;
    own->p = NAME(take)(own, n), own->g = NAME(take)(own, n);
    own->m = NAME(take)(own, n), own->v = NAME(take)(own, n);
    own->dy = NAME(take)(own, n_most), own->dx = NAME(take)(own, n_most);
    own->turned = NAME(take)(own, largest), own->share = NAME(take)(own, plan->most_samples);
    int64_t n_outputs = NAME(whole)(plan->layers[plan->n_layers - 1].n_out);
    own->combined = NAME(take)(own, plan->most_samples * n_outputs);
    /* What comes last may be written beyond its end. */
    own->windows = NAME(take)(own, LINES_AT_ONCE * n_windows + LANES);
    own->image = NAME(take)(own, own->n_image), own->by_image = NAME(take)(own, own->n_image);
}

static int NAME(reserve)(NAME(Worker) *own) {
    own->slots = calloc((size_t)own->plan->n_layers, sizeof(NAME(Slot)));
    own->places = calloc((size_t)own->plan->n_parameters + 1, sizeof(int64_t));
    own->lengths = calloc((size_t)own->plan->most_samples, sizeof(int64_t));
    if (!own->slots || !own->places || !own->lengths) return 0;
    NAME(lay_out)(own);
    own->block = calloc(own->n_bytes + ALIGNMENT, 1);
    if (!own->block) return 0;
    /* MinGW has no aligned_alloc. */
    own->aligned = own->block + (ALIGNMENT - (uintptr_t)own->block % ALIGNMENT);
    own->n_bytes = 0;
    NAME(lay_out)(own);
    return 1;
}

static void NAME(release)(NAME(Worker) *own) {
    free(own->block), free(own->slots), free(own->places), free(own->lengths);
}
