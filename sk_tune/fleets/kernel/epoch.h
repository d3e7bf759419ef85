/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What epoch.c does, for numbers of one kind: REAL is float or double.
 */
#define V NAME(Vector)
#define LANES ((int64_t)(VECTOR / sizeof(REAL)))

typedef REAL V __attribute__((vector_size(VECTOR)));
typedef REAL NAME(Loose) __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));

/* The memory of a thread. */
typedef struct {
    /* Of all layers, one after the other: parameters, derivatives and both moments. */
    REAL *p, *g, *m, *v;
    int64_t n_parameters;
    /* Where the weight and the bias of a layer begin, and its padded units. */
    int64_t weight[MOST_LAYERS], bias[MOST_LAYERS], padded[MOST_LAYERS + 1];
    REAL *turned, *inputs, *outputs[MOST_LAYERS], *derivatives[2], *share;
} NAME(Memory);

/* C[i, j] = start[j] + sum over k of A[i, k] B[k, j] for some i and 1 or 2 vectors of j. */
#define PRODUCT(name, n_rows, n_vectors)                                                     \
    static inline void NAME(name)(int64_t n, const REAL *A, int64_t row, int64_t column,     \
                                  const REAL *B, int64_t b_row, REAL *C, int64_t c_row,      \
                                  const REAL *start) {                                       \
        V sums[n_rows][n_vectors];                                                           \
        for (int i = 0; i < n_rows; i++)                                                     \
            for (int j = 0; j < n_vectors; j++)                                              \
                sums[i][j] = start ? (V)*(const NAME(Loose) *)(start + j * LANES) : (V){0};  \
        for (int64_t k = 0; k < n; k++) {                                                    \
            V b[n_vectors];                                                                  \
            for (int j = 0; j < n_vectors; j++)                                              \
                b[j] = *(const NAME(Loose) *)(B + k * b_row + j * LANES);                    \
            for (int i = 0; i < n_rows; i++)                                                 \
                for (int j = 0; j < n_vectors; j++)                                          \
                    sums[i][j] += A[i * row + k * column] * b[j];                            \
        }                                                                                    \
        for (int i = 0; i < n_rows; i++)                                                     \
            for (int j = 0; j < n_vectors; j++)                                              \
                *(NAME(Loose) *)(C + i * c_row + j * LANES) = sums[i][j];                    \
    }
PRODUCT(block_of_two, BLOCK, 2)
PRODUCT(block_of_one, BLOCK, 1)
PRODUCT(row_of_two, 1, 2)
PRODUCT(row_of_one, 1, 1)
#undef PRODUCT

/* C (n_rows, n_columns) = start + A B, where A has strides of its own, so that it may be the
 * transpose of what is in memory; columns are whole vectors. */
static void NAME(product)(int64_t n_rows, int64_t n_columns, int64_t n, const REAL *A,
                          int64_t row, int64_t column, const REAL *B, int64_t b_row, REAL *C,
                          int64_t c_row, const REAL *start) {
    for (int64_t j = 0; j < n_columns;) {
        int is_two = j + 2 * LANES <= n_columns;
        const REAL *own = start ? start + j : NULL;
        int64_t i = 0;
        for (; i + BLOCK <= n_rows; i += BLOCK)
            (is_two ? NAME(block_of_two) : NAME(block_of_one))(
                n, A + i * row, row, column, B + j, b_row, C + i * c_row + j, c_row, own);
        for (; i < n_rows; i++)
            (is_two ? NAME(row_of_two) : NAME(row_of_one))(
                n, A + i * row, row, column, B + j, b_row, C + i * c_row + j, c_row, own);
        j += is_two ? 2 * LANES : LANES;
    }
}

static int64_t NAME(whole)(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* Return memory for n numbers, all 0; NULL if there is none. */
static REAL *NAME(zeros)(int64_t n) {
    size_t bytes = ((size_t)n * sizeof(REAL) / ALIGNMENT + 1) * ALIGNMENT;
    REAL *found = aligned_alloc(ALIGNMENT, bytes);
    if (found) memset(found, 0, bytes);
    return found;
}

static void NAME(release)(NAME(Memory) *own) {
    free(own->p), free(own->g), free(own->m), free(own->v);
    free(own->turned), free(own->inputs), free(own->share);
    for (int i = 0; i < MOST_LAYERS; i++) free(own->outputs[i]);
    for (int i = 0; i < 2; i++) free(own->derivatives[i]);
}

static int NAME(reserve)(NAME(Memory) *own, const Plan *plan) {
    int64_t n = 0, widest = 0, largest = 0, most = plan->most_samples;
    int is_complete = 1;
    for (int64_t l = 0; l <= plan->n_layers; l++) {
        own->padded[l] = NAME(whole)(plan->sizes[l]);
        if (l == 0) continue;
        own->weight[l - 1] = n;
        n += plan->sizes[l - 1] * own->padded[l];
        own->bias[l - 1] = n;
        n += own->padded[l];
        if (own->padded[l] > widest) widest = own->padded[l];
        if (plan->sizes[l] * own->padded[l - 1] > largest)
            largest = plan->sizes[l] * own->padded[l - 1];
        is_complete &= !!(own->outputs[l - 1] = NAME(zeros)(most * own->padded[l]));
    }
    own->n_parameters = n;
    REAL **kept[4] = {&own->p, &own->g, &own->m, &own->v};
    for (int i = 0; i < 4; i++) is_complete &= !!(*kept[i] = NAME(zeros)(n));
    is_complete &= !!(own->turned = NAME(zeros)(largest));
    is_complete &= !!(own->inputs = NAME(zeros)(most * plan->sizes[0]));
    is_complete &= !!(own->share = NAME(zeros)(most));
    for (int i = 0; i < 2; i++)
        is_complete &= !!(own->derivatives[i] = NAME(zeros)(most * widest));
    return is_complete;
}

/* Copy the weights of a network, and its moments as the second and third part, to where they are
 * computed with, or back. */
static void NAME(transfer)(const Plan *plan, const Network *network, NAME(Memory) *own, int n_parts,
                           int is_back) {
    REAL *kept[3] = {own->p, own->m, own->v};
    /* What is between the padded units: a network before this one may have left NaN there. */
    for (int part = 0; part < n_parts && !is_back; part++)
        memset(kept[part], 0, (size_t)own->n_parameters * sizeof(REAL));
    for (int64_t l = 0; l < plan->n_layers; l++) {
        int64_t n_in = plan->sizes[l], n_out = plan->sizes[l + 1], padded = own->padded[l + 1];
        for (int part = 0; part < n_parts; part++) {
            REAL *weight = network->parts[l * 6 + part * 2], *bias = network->parts[l * 6 + part * 2 + 1];
            REAL *to = kept[part] + own->weight[l];
            if (weight && is_back)
                for (int64_t i = 0; i < n_out; i++)
                    for (int64_t j = 0; j < n_in; j++) weight[i * n_in + j] = to[j * padded + i];
            else if (weight)
                for (int64_t j = 0; j < n_in; j++)
                    for (int64_t i = 0; i < n_out; i++) to[j * padded + i] = weight[i * n_in + j];
            if (bias && is_back)
                memcpy(bias, kept[part] + own->bias[l], (size_t)n_out * sizeof(REAL));
            else if (bias)
                memcpy(kept[part] + own->bias[l], bias, (size_t)n_out * sizeof(REAL));
        }
    }
}

/* ReLU and, in training, dropout, in place. */
static void NAME(activate)(const Plan *plan, const Network *network, const int32_t *positions,
                           int64_t layer, int64_t step, int64_t n, int64_t padded, REAL *y) {
    int64_t n_units = plan->sizes[layer + 1], index = plan->dropout[layer];
    if (plan->has_relu[layer])
        for (int64_t i = 0; i < n * padded; i++) y[i] = y[i] < 0 ? 0 : y[i];
    if (index < 0 || step < 0) return;
    uint32_t key = mixed((uint32_t)network->keys[index] + (uint32_t)(network->first_step + step) * GOLDEN);
    uint32_t a = key | 1, b = mixed(key ^ GOLDEN);
    int32_t threshold = network->thresholds[index];
    REAL scale = ((const REAL *)network->scales)[index];
    for (int64_t i = 0; i < n; i++) {
        const int32_t *own = positions + i * n_units;
        REAL *of_sample = y + i * padded;
        for (int64_t j = 0; j < n_units; j++) {
            int32_t bits = (int32_t)((uint32_t)own[j] * a + b);
            /* A product, so that what is not finite stays so. */
            of_sample[j] *= bits >= threshold ? scale : 0;
        }
    }
}

/* The derivative of the same by its input, in place.  Without ReLU the mask is made again. */
static void NAME(deactivate)(const Plan *plan, const Network *network, const int32_t *positions,
                             int64_t layer, int64_t step, int64_t n, int64_t padded,
                             const REAL *y, REAL *dy) {
    int64_t index = plan->dropout[layer];
    if (plan->has_relu[layer]) {
        REAL scale = index < 0 ? 1 : ((const REAL *)network->scales)[index];
        for (int64_t i = 0; i < n * padded; i++) dy[i] = y[i] <= 0 ? 0 : dy[i] * scale;
    } else if (index >= 0) {
        Plan masked = *plan;
        masked.has_relu[layer] = 0;
        NAME(activate)(&masked, network, positions, layer, step, n, padded, dy);
    }
}

/* Loss of a sample of C outputs; its derivative, times the sample's share, in `dy`, and the
 * first of the highest outputs in `best`. */
static REAL NAME(classes)(const REAL *x, int64_t target, int64_t n, REAL s, REAL share, REAL *dy,
                          int64_t *best) {
    REAL highest = x[0], sum = 0, mean = 0;
    *best = 0;
    for (int64_t j = 1; j < n; j++)
        if (x[j] > highest) highest = x[j], *best = j;
    for (int64_t j = 0; j < n; j++) sum += dy[j] = EXP(x[j] - highest);
    REAL log_sum = LOG(sum);
    for (int64_t j = 0; j < n; j++) {
        mean += x[j] - highest - log_sum;
        dy[j] = (dy[j] / sum - s / n) * share;
    }
    dy[target] -= (1 - s) * share;
    REAL loss = -(x[target] - highest - log_sum);
    /* Without smoothing the mean may be infinite where the loss is not. */
    return s > 0 ? loss + s * (-mean / n - loss) : loss;
}

static REAL NAME(numbers)(int64_t kind, const REAL *x, const REAL *t, int64_t n, REAL s,
                          REAL share, REAL *dy) {
    REAL loss = 0, factor = share / n;
    for (int64_t j = 0; j < n; j++) {
        REAL d = x[j] - t[j], size = FABS(d);
        if (kind == BINARY_CROSS_ENTROPY) {
            REAL target = t[j] * (1 - s) + s / 2, small = EXP(-FABS(x[j]));
            loss += (x[j] > 0 ? x[j] : 0) - x[j] * target + LOG1P(small);
            d = (x[j] >= 0 ? 1 : small) / (1 + small) - target;
        } else if (kind == SQUARED) {
            loss += d * d;
            d *= 2;
        } else if (kind == ABSOLUTE) {
            loss += size;
            d = d > 0 ? 1 : d < 0 ? -1 : d;
        } else {
            loss += size < 1 ? d * d / 2 : size - (REAL)0.5;
            d = d > 1 ? 1 : d < -1 ? -1 : d;
        }
        dy[j] = d * factor;
    }
    return loss / n;
}

/* The numbers of the epoch that a step belongs to. */
static double *NAME(numbers_of)(const Network *network, int64_t step) {
    return network->numbers + (network->n_before + step) / network->n_per_epoch * N_NUMBERS;
}

/* Mean loss of a batch and its derivatives; keeps the outputs.  1 if a target is no class. */
static int NAME(judge)(const Plan *plan, const Network *network, NAME(Memory) *own, int64_t start,
                       int64_t n, int64_t step, REAL *dy) {
    int64_t n_outputs = plan->sizes[plan->n_layers], padded = own->padded[plan->n_layers];
    const REAL *x = own->outputs[plan->n_layers - 1], *weight = network->weight;
    const int64_t *order = network->order + start;
    REAL *kept = network->outputs ? (REAL *)network->outputs + start * n_outputs : NULL;
    REAL s = (REAL)network->smoothing, sum = 0;
    double loss = 0, hits = 0;
    for (int64_t i = 0; i < n; i++) sum += own->share[i] = weight ? weight[order[i]] : 1;
    for (int64_t i = 0; i < n; i++) own->share[i] /= sum;
    memset(dy, 0, (size_t)(n * padded) * sizeof(REAL));
    for (int64_t i = 0; i < n; i++) {
        REAL share = own->share[i], of_sample;
        if (kept) memcpy(kept + i * n_outputs, x + i * padded, (size_t)n_outputs * sizeof(REAL));
        if (plan->loss == CROSS_ENTROPY) {
            int64_t target = ((const int64_t *)network->y)[order[i]], best;
            if (target < 0 || target >= n_outputs) return 1;
            of_sample = NAME(classes)(x + i * padded, target, n_outputs, s, share, dy + i * padded,
                                      &best);
            if (best == target) hits += weight ? weight[order[i]] : 1;
        } else {
            const REAL *target = (const REAL *)network->y + order[i] * n_outputs;
            of_sample = NAME(numbers)(plan->loss, x + i * padded, target, n_outputs, s, share,
                                      dy + i * padded);
        }
        loss += of_sample * share;
    }
    ((REAL *)network->losses)[step * network->loss_stride] = (REAL)loss;
    if (network->numbers) {
        double *own_numbers = NAME(numbers_of)(network, step);
        own_numbers[LOSSES] += (double)(REAL)loss * sum;
        own_numbers[WEIGHTS] += sum;
        own_numbers[HITS] += hits;
    }
    return 0;
}

/* The derivatives by all parameters, from those by the outputs in derivatives[0]. */
static void NAME(backward)(const Plan *plan, const Network *network, const int32_t *positions,
                           NAME(Memory) *own, int64_t n, int64_t step) {
    REAL *dy = own->derivatives[0], *dx = own->derivatives[1];
    for (int64_t l = plan->n_layers - 1; l >= 0; l--) {
        int64_t n_in = plan->sizes[l], n_out = plan->sizes[l + 1], padded = own->padded[l + 1];
        int64_t x_row = l ? own->padded[l] : n_in;
        const REAL *x = l ? own->outputs[l - 1] : own->inputs, *w = own->p + own->weight[l];
        NAME(product)(n_in, padded, n, x, 1, x_row, dy, padded, own->g + own->weight[l], padded,
                      NULL);
        if (plan->has_bias[l]) {
            REAL *bias = own->g + own->bias[l];
            memset(bias, 0, (size_t)padded * sizeof(REAL));
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < padded; j++) bias[j] += dy[i * padded + j];
        }
        if (l == 0) return;
        for (int64_t i = 0; i < n_out; i++)
            for (int64_t j = 0; j < n_in; j++) own->turned[i * x_row + j] = w[j * padded + i];
        if (x_row > n_in)
            for (int64_t i = 0; i < n_out; i++)
                memset(own->turned + i * x_row + n_in, 0, (size_t)(x_row - n_in) * sizeof(REAL));
        NAME(product)(n, x_row, n_out, dy, padded, 1, own->turned, x_row, dx, x_row, NULL);
        NAME(deactivate)(plan, network, positions, l - 1, step, n, x_row, x, dx);
        REAL *other = dy;
        dy = dx, dx = other;
    }
}

/* Penalty and clipping change the derivatives. */
static void NAME(restrain)(const Plan *plan, const Network *network, NAME(Memory) *own) {
    REAL *p = own->p, *g = own->g, l1 = (REAL)network->l1;
    if (plan->has_penalty)
        for (int64_t l = 0; l < plan->n_layers; l++)
            for (int64_t i = own->weight[l]; i < own->bias[l]; i++)
                g[i] += l1 * (p[i] > 0 ? 1 : p[i] < 0 ? -1 : p[i]);
    if (!plan->has_clip || isinf(network->clip)) return;
    double sum = 0;
    for (int64_t i = 0; i < own->n_parameters; i++) sum += (double)g[i] * g[i];
    double factor = network->clip / (sqrt(sum) + 1e-6);
    if (factor >= 1) return;
    for (int64_t i = 0; i < own->n_parameters; i++) g[i] *= (REAL)factor;
}

/* A step of the optimizer, as in torch.optim. */
static void NAME(update)(const Plan *plan, const Network *network, NAME(Memory) *own, int64_t step) {
    REAL *restrict p = own->p, *restrict g = own->g, *restrict m = own->m, *restrict v = own->v;
    int64_t n = own->n_parameters;
    double lr = network->rates[step], count = (double)(network->n_steps + step + 1);
    REAL rate = (REAL)lr, momentum = (REAL)network->momentum, eps = (REAL)network->eps;
    REAL decay = (REAL)network->decay, beta = (REAL)network->beta_2;
    REAL new_1 = (REAL)(1 - network->momentum), new_2 = (REAL)(1 - network->beta_2);
    if (plan->optimizer == ADAM || plan->optimizer == ADAMW) {
        REAL left = plan->optimizer == ADAMW ? (REAL)(1 - lr * network->decay) : 1;
        REAL added = plan->optimizer == ADAMW ? 0 : decay;
        /* Both sides of torch's quotient times the root: a division less. */
        double root = sqrt(1 - pow(network->beta_2, count));
        REAL size = (REAL)(lr / (1 - pow(network->momentum, count)) * root);
        REAL least = (REAL)(network->eps * root);
        for (int64_t i = 0; i < n; i++) {
            REAL own_p = p[i] * left, own_g = g[i] + added * own_p;
            m[i] += new_1 * (own_g - m[i]);
            v[i] = beta * v[i] + new_2 * own_g * own_g;
            p[i] = own_p - size * (m[i] / (SQRT(v[i]) + least));
        }
    } else if (plan->optimizer == SGD) {
        int is_ahead = plan->nesterov && network->momentum > 0;
        for (int64_t i = 0; i < n; i++) {
            REAL own_g = g[i] + decay * p[i];
            m[i] = momentum * m[i] + own_g;
            p[i] -= rate * (is_ahead ? own_g + momentum * m[i] : m[i]);
        }
    } else { /* RMSPROP: m is the mean of squares, v the buffer of the momentum. */
        for (int64_t i = 0; i < n; i++) {
            REAL own_g = g[i] + decay * p[i];
            m[i] = beta * m[i] + new_2 * own_g * own_g;
            v[i] = momentum * v[i] + own_g / (SQRT(m[i]) + eps);
            p[i] -= rate * v[i];
        }
    }
}

/* Outputs of the last layer for n of the samples of X; dropout only with `step` of at least
 * 0.  1 if a sample does not exist. */
static int NAME(forward)(const Plan *plan, const Network *network, const int32_t *positions,
                         NAME(Memory) *own, const REAL *X, int64_t n_samples,
                         const int64_t *order, int64_t n, int64_t step) {
    int64_t n_in = plan->sizes[0];
    for (int64_t i = 0; i < n; i++) {
        if (order[i] < 0 || order[i] >= n_samples) return 1;
        memcpy(own->inputs + i * n_in, X + order[i] * n_in, (size_t)n_in * sizeof(REAL));
    }
    for (int64_t l = 0; l < plan->n_layers; l++) {
        int64_t padded = own->padded[l + 1], x_row = l ? own->padded[l] : n_in;
        const REAL *x = l ? own->outputs[l - 1] : own->inputs;
        NAME(product)(n, padded, plan->sizes[l], x, x_row, 1, own->p + own->weight[l], padded,
                      own->outputs[l], padded, own->p + own->bias[l]);
        NAME(activate)(plan, network, positions, l, step, n, padded, own->outputs[l]);
    }
    return 0;
}

/* Copy the outputs of n samples to where they are kept. */
static void NAME(keep_outputs)(const Plan *plan, const NAME(Memory) *own, int64_t n, REAL *to) {
    int64_t n_outputs = plan->sizes[plan->n_layers], padded = own->padded[plan->n_layers];
    const REAL *x = own->outputs[plan->n_layers - 1];
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * n_outputs, x + i * padded, (size_t)n_outputs * sizeof(REAL));
}

/* Loss and hits on the samples that are looked at after an epoch.  0 or what failed. */
static int NAME(look)(const Plan *plan, const Network *network, NAME(Memory) *own, double *numbers) {
    int64_t n_outputs = plan->sizes[plan->n_layers], padded = own->padded[plan->n_layers];
    const REAL *x = own->outputs[plan->n_layers - 1];
    int64_t n;
    double loss = 0, hits = 0;
    for (int64_t start = 0; start < network->n_monitored; start += n) {
        const int64_t *order = network->monitor_order + start;
        n = network->n_monitored - start;
        if (n > LOOKED_AT_ONCE) n = LOOKED_AT_ONCE;
        if (NAME(forward)(plan, network, NULL, own, network->monitor_X, network->n_monitor_data, order, n, -1))
            return FAILED_PLACE;
        NAME(keep_outputs)(plan, own, n, (REAL *)network->monitor_outputs + start * n_outputs);
        for (int64_t i = 0; i < n; i++) {
            int64_t target = ((const int64_t *)network->monitor_y)[order[i]], best;
            if (target < 0 || target >= n_outputs) return FAILED_TARGET;
            loss += NAME(classes)(x + i * padded, target, n_outputs, 0, 0, own->derivatives[0],
                                  &best);
            hits += best == target;
        }
    }
    numbers[MONITOR_LOSS] = loss / (double)network->n_monitored;
    numbers[MONITOR_SHARE] = hits / (double)network->n_monitored;
    return 0;
}

/* One network, some batches.  0 or what failed. */
static int NAME(train)(const Plan *plan, const Network *network, const int32_t *positions,
                       NAME(Memory) *own) {
    int64_t start = 0;
    NAME(transfer)(plan, network, own, 3, 0);
    /* Of what the layers do not have nothing is written, but clipping of a network that diverged
     * makes NaN of it. */
    memset(own->g, 0, (size_t)own->n_parameters * sizeof(REAL));
    for (int64_t step = 0; step < network->n_batches; step++) {
        int64_t n = network->batches[step];
        if (NAME(forward)(plan, network, positions, own, network->X, network->n_samples, network->order + start,
                          n, step))
            return FAILED_PLACE;
        if (NAME(judge)(plan, network, own, start, n, step, own->derivatives[0]))
            return FAILED_TARGET;
        NAME(backward)(plan, network, positions, own, n, step);
        NAME(restrain)(plan, network, own);
        NAME(update)(plan, network, own, step);
        start += n;
        if (network->numbers && network->n_monitored && (network->n_before + step + 1) % network->n_per_epoch == 0) {
            int failed = NAME(look)(plan, network, own, NAME(numbers_of)(network, step));
            if (failed) return failed;
        }
    }
    NAME(transfer)(plan, network, own, 3, 1);
    return 0;
}

/* The outputs of one network, in evaluation mode.  0 or what failed. */
static int NAME(predict)(const Plan *plan, const Network *network, NAME(Memory) *own) {
    int64_t n_outputs = plan->sizes[plan->n_layers], start = 0;
    NAME(transfer)(plan, network, own, 1, 0);
    for (int64_t step = 0; step < network->n_batches; step++) {
        int64_t n = network->batches[step];
        if (NAME(forward)(plan, network, NULL, own, network->X, network->n_samples, network->order + start, n, -1))
            return FAILED_PLACE;
        NAME(keep_outputs)(plan, own, n, (REAL *)network->outputs + start * n_outputs);
        start += n;
    }
    return 0;
}

/* What a thread does: networks, as long as some are left. */
static void *NAME(work)(void *argument) {
    Call *call = argument;
    NAME(Memory) own = {0};
    if (!NAME(reserve)(&own, call->plan)) {
        atomic_store(&call->failed, FAILED_MEMORY);
    } else {
        int64_t i;
        while ((i = atomic_fetch_add(&call->next, 1)) < call->n_networks) {
            const Network *network = &call->networks[i];
            int failed = call->predicts ? NAME(predict)(call->plan, network, &own)
                                        : NAME(train)(call->plan, network, call->positions, &own);
            if (failed) atomic_store(&call->failed, failed);
        }
    }
    NAME(release)(&own);
    return NULL;
}
#undef V
#undef LANES
