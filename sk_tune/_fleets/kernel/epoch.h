/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Epochs of one network, for one floating-point type: losses, optimizers, the training loop.
 */

/* Copy a network's parameters, and its moments as parts 2 and 3, to padded memory, or back. */
static void NAME(transfer)(const NAME(Worker) *self, int n_parts, int is_back) {
    REAL *local[3] = {self->p, self->m, self->v};
    /* Clear the padding: an earlier network may have left NaN there. */
    for (int part = 0; part < n_parts && !is_back; part++)
        memset(local[part], 0, (size_t)self->n_numbers * sizeof(REAL));
    for (int64_t q = 0; q < self->fleet->n_parameters; q++) {
        const Parameter *parameter = self->fleet->parameters + q;
        int64_t n_rows = parameter->n_rows, n_columns = parameter->n_columns;
        int64_t padded = NAME(padded)(n_columns), size = n_rows * n_columns;
        int64_t n = n_rows * parameter->n_matrices;
        int64_t row = parameter->is_turned ? 1 : n_columns;
        int64_t column = parameter->is_turned ? n_rows : 1;
        int64_t inner = parameter->n_inner, outer = n_rows / inner;
        for (int part = 0; part < n_parts; part++) {
            REAL *theirs = self->network->parts[q * 3 + part],
                 *ours = local[part] + self->offsets[q];
            for (int64_t i = 0; i < n && theirs; i++) {
                int64_t number = i % n_rows % inner * outer + i % n_rows / inner;
                REAL *their_row = theirs + i / n_rows * size + number * row;
                for (int64_t j = 0; j < n_columns && is_back; j++)
                    their_row[j * column] = ours[i * padded + j];
                for (int64_t j = 0; j < n_columns && !is_back; j++)
                    ours[i * padded + j] = their_row[j * column];
            }
        }
    }
}

/* Position of the largest of n values. */
static int64_t NAME(largest)(const REAL *x, int64_t n) {
    int64_t best = 0;
    for (int64_t j = 1; j < n; j++)
        if (x[j] > x[best]) best = j;
    return best;
}

/* Cross-entropy of one sample with n outputs for a class, or for probabilities `t` unless it is
 * NULL; writes the gradient times `share` to `dy`. */
static REAL NAME(cross_entropy)(const REAL *x, int64_t target, const REAL *t, int64_t n, REAL s,
                                REAL share, REAL *dy) {
    REAL highest = x[NAME(largest)(x, n)], sum = 0, mean = 0, loss = 0;
    for (int64_t j = 0; j < n; j += LANES) AT(dy + j) = NAME(exp)(AT(x + j) - highest);
    NAME(clear_padding)(dy, 1, n);
    for (int64_t j = 0; j < n; j++) sum += dy[j];
    REAL log_sum = LOG(sum);
    for (int64_t j = 0; j < n; j++) {
        REAL hit = t ? t[j] : j == target, log_p = x[j] - highest - log_sum;
        mean += log_p;
        if (hit > 0) loss -= hit * log_p;
        dy[j] = (dy[j] / sum - s / n - (1 - s) * hit) * share;
    }
    /* Without smoothing, the mean may be infinite although the loss is finite. */
    return s > 0 ? loss + s * (-mean / n - loss) : loss;
}

/* Deviance of the power p from 1 to 2 for a log mean x; its derivative by x is written to `d`. */
static REAL NAME(deviance)(REAL x, REAL t, REAL p, REAL *d) {
    REAL rise = EXP((2 - p) * x), fall = t * EXP((1 - p) * x);
    *d = 2 * (rise - fall);
    if (p == 1) return 2 * (rise - t * x + (t == 0 ? 0 : t * LOG(t)) - t);
    if (p == 2) return 2 * (x + fall - LOG(t) - 1);
    return 2 * (rise / (2 - p) - fall / (1 - p) + POW(t, 2 - p) / ((1 - p) * (2 - p)));
}

static REAL NAME(elementwise_loss)(const Fleet *fleet, const REAL *x, const REAL *t, int64_t n,
                                   REAL s, REAL share, REAL *dy) {
    REAL loss = 0, factor = share / n;
    for (int64_t j = 0; j < n; j++) {
        REAL d = x[j] - t[j], size = FABS(d);
        switch ((enum loss)fleet->loss) {
        case CROSS_ENTROPY:
        case SOFT_CROSS_ENTROPY: break; /* See cross_entropy. */
        case BINARY_CROSS_ENTROPY: {
            REAL target = t[j] * (1 - s) + s / 2, small = EXP(-FABS(x[j]));
            loss += (x[j] > 0 ? x[j] : 0) - x[j] * target + LOG1P(small);
            d = (x[j] >= 0 ? 1 : small) / (1 + small) - target;
            break;
        }
        case SQUARED:
            loss += d * d;
            d *= 2;
            break;
        case ABSOLUTE:
            loss += size;
            d = d > 0 ? 1 : d < 0 ? -1 : d;
            break;
        case HUBER:
            loss += size < 1 ? d * d / 2 : size - (REAL)0.5;
            d = d > 1 ? 1 : d < -1 ? -1 : d;
            break;
        case PINBALL: {
            REAL lean = (REAL)(fleet->loss_options[j] - 0.5);
            loss += size / 2 - d * lean;
            d = (d > 0 ? (REAL)0.5 : d < 0 ? (REAL)-0.5 : d) - lean;
            break;
        }
        case DEVIANCE: loss += NAME(deviance)(x[j], t[j], (REAL)fleet->loss_options[0], &d); break;
        }
        dy[j] = d * factor;
    }
    return loss / n;
}

/* Outputs of line i of the batch: a sample, or one member's copy of it. */
static REAL *NAME(output)(const NAME(Worker) *self, int64_t i) {
    int64_t last = self->fleet->n_layers - 1;
    return self->slots[last].y + i * NAME(padded)(self->fleet->layers[last].n_out);
}

/* Log of the members' mean class probabilities for sample i of n. */
static void NAME(mean_log_probabilities)(const NAME(Worker) *self, int64_t i, int64_t n,
                                         int64_t n_outputs, REAL *to) {
    int64_t n_members = self->fleet->n_members;
    for (int64_t k = 0; k < n_members; k++) {
        REAL *x = NAME(output)(self, k * n + i), highest = x[0], sum = 0, *e = self->dx;
        for (int64_t j = 1; j < n_outputs; j++) highest = x[j] > highest ? x[j] : highest;
        for (int64_t j = 0; j < n_outputs; j += LANES) AT(e + j) = NAME(exp)(AT(x + j) - highest);
        for (int64_t j = 0; j < n_outputs; j++) sum += e[j];
        self->dx[NAME(padded)(n_outputs) + k] = highest + LOG(sum);
    }
    const REAL *logs = self->dx + NAME(padded)(n_outputs);
    for (int64_t j = 0; j < n_outputs; j += LANES) {
        V highest = AT(NAME(output)(self, i) + j) - logs[0], sum = {0};
        for (int64_t k = 1; k < n_members; k++) {
            V x = AT(NAME(output)(self, k * n + i) + j) - logs[k];
            highest = NAME(select)(highest > x, highest, x);
        }
        for (int64_t k = 0; k < n_members; k++)
            sum += NAME(exp)(AT(NAME(output)(self, k * n + i) + j) - logs[k] - highest);
        AT(to + j) = highest;
        for (int64_t c = 0; c < LANES; c++) to[j + c] += LOG(sum[c] / (REAL)n_members);
    }
}

/* Log-odds of the members' mean probability of label j. */
static REAL NAME(mean_log_odds)(const NAME(Worker) *self, int64_t i, int64_t n, int64_t j) {
    REAL odds[2];
    for (int side = 0; side < 2; side++) {
        REAL highest = 0, sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t k = 0; k < self->fleet->n_members; k++) {
                REAL x = NAME(output)(self, k * n + i)[j] * (side ? -1 : 1);
                REAL log = (x < 0 ? x : 0) - LOG1P(EXP(-FABS(x)));
                if (pass) sum += EXP(log - highest);
                else if (k == 0 || log > highest) highest = log;
            }
        odds[side] = highest + LOG(sum);
    }
    return odds[0] - odds[1];
}

/* Log of the members' mean exponential of output j. */
static REAL NAME(mean_exponential)(const NAME(Worker) *self, int64_t i, int64_t n, int64_t j) {
    int64_t n_members = self->fleet->n_members;
    REAL highest = NAME(output)(self, i)[j], sum = 0;
    for (int64_t k = 1; k < n_members; k++) {
        REAL x = NAME(output)(self, k * n + i)[j];
        if (x > highest) highest = x;
    }
    for (int64_t k = 0; k < n_members; k++)
        sum += EXP(NAME(output)(self, k * n + i)[j] - highest);
    return highest + LOG(sum / (REAL)n_members);
}

/* Combined prediction of all members for sample i of n. */
static REAL *NAME(prediction)(const NAME(Worker) *self, int64_t i, int64_t n) {
    const Fleet *fleet = self->fleet;
    int64_t n_outputs = fleet->layers[fleet->n_layers - 1].n_out;
    if (fleet->n_members == 1) return NAME(output)(self, i);
    REAL *to = self->combined + i * NAME(padded)(n_outputs);
    if (fleet->link == SOFTMAX) NAME(mean_log_probabilities)(self, i, n, n_outputs, to);
    for (int64_t j = 0; j < n_outputs && fleet->link == SIGMOID; j++)
        to[j] = NAME(mean_log_odds)(self, i, n, j);
    for (int64_t j = 0; j < n_outputs && fleet->link == EXPONENTIAL; j++)
        to[j] = NAME(mean_exponential)(self, i, n, j);
    for (int64_t j = 0; j < n_outputs && fleet->link == IDENTITY; j++) {
        REAL sum = 0;
        for (int64_t k = 0; k < fleet->n_members; k++) sum += NAME(output)(self, k * n + i)[j];
        to[j] = sum / (REAL)fleet->n_members;
    }
    NAME(clear_padding)(to, 1, n_outputs);
    return to;
}

/* Copy the predictions for the batch to `to`. */
static void NAME(copy_predictions)(const NAME(Worker) *self, REAL *to) {
    int64_t n_outputs = self->fleet->layers[self->fleet->n_layers - 1].n_out;
    int64_t n = self->n / self->fleet->n_members;
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * n_outputs, NAME(prediction)(self, i, n), (size_t)n_outputs * sizeof(REAL));
}

/* Whether the log-odds predict all labels correctly. */
static int NAME(is_correct)(const REAL *x, const REAL *target, int64_t n) {
    for (int64_t j = 0; j < n; j++)
        if ((x[j] > 0) != (target[j] > (REAL)0.5)) return 0;
    return 1;
}

/* Add the batch to the sums of the epoch; write the mean loss to `loss`, its gradient to `dy`, and
 * predictions to `predictions` unless it is NULL.  In training each member has a separate loss.
 * Returns 0 or an error code. */
static int NAME(loss_and_gradient)(const NAME(Worker) *self, const int64_t *order, const void *y,
                                   const REAL *weight, REAL smoothing, double *sums, REAL *loss,
                                   REAL *predictions) {
    const Fleet *fleet = self->fleet;
    int64_t n_outputs = fleet->layers[fleet->n_layers - 1].n_out;
    int is_soft = fleet->loss == SOFT_CROSS_ENTROPY;
    int64_t n = self->n / fleet->n_members, padded = NAME(padded)(n_outputs);
    int64_t n_losses = self->step < 0 ? 1 : fleet->n_members;
    double total = 0;
    REAL weights = 0;
    for (int64_t i = 0; i < n; i++) weights += self->share[i] = weight ? weight[order[i]] : 1;
    for (int64_t i = 0; i < n; i++) {
        REAL sample_weight = self->share[i], share = sample_weight / weights / (REAL)n_losses;
        const REAL *prediction = NAME(prediction)(self, i, n);
        if (predictions)
            memcpy(predictions + i * n_outputs, prediction, (size_t)n_outputs * sizeof(REAL));
        int64_t target = fleet->loss == CROSS_ENTROPY ? ((const int64_t *)y)[order[i]] : 0;
        const REAL *targets = (const REAL *)y + order[i] * n_outputs;
        if (target < 0 || target >= n_outputs) return FAILED_TARGET;
        for (int64_t k = 0; k < n_losses; k++) {
            const REAL *x = n_losses > 1 ? NAME(output)(self, k * n + i) : prediction;
            REAL *dy = self->dy + (k * n + i) * padded;
            NAME(clear_padding)(dy, 1, n_outputs);
            total += share * (fleet->loss == CROSS_ENTROPY || is_soft
                                  ? NAME(cross_entropy)(x, target, is_soft ? targets : NULL, n_outputs,
                                                        smoothing, share, dy)
                                  : NAME(elementwise_loss)(fleet, x, targets, n_outputs, smoothing,
                                                           share, dy));
        }
        if (fleet->loss == CROSS_ENTROPY || is_soft) {
            if (is_soft) target = NAME(largest)(targets, n_outputs);
            if (NAME(largest)(prediction, n_outputs) == target) sums[HITS] += sample_weight;
            continue;
        }
        if (fleet->loss == BINARY_CROSS_ENTROPY && NAME(is_correct)(prediction, targets, n_outputs))
            sums[HITS] += sample_weight;
        for (int64_t j = 0; j < n_outputs; j++) {
            REAL value = fleet->loss == DEVIANCE ? EXP(prediction[j]) : prediction[j];
            REAL difference = value - targets[j];
            sums[SQUARES + j] += difference * difference * sample_weight;
        }
    }
    *loss = (REAL)total;
    sums[LOSSES] += (double)*loss * weights;
    sums[WEIGHTS] += weights;
    return 0;
}

/* Add the gradient of the L1 penalty, then clip the gradient norm. */
static void NAME(apply_l1_and_clip)(const NAME(Worker) *self) {
    const Fleet *fleet = self->fleet;
    const Network *network = self->network;
    REAL *p = self->p, *g = self->g, l1 = (REAL)network->l1;
    for (int64_t q = 0; q < fleet->n_parameters && fleet->has_penalty; q++) {
        if (!fleet->parameters[q].is_penalised) continue;
        for (int64_t i = self->offsets[q]; i < self->offsets[q + 1]; i++)
            g[i] += l1 * (p[i] > 0 ? 1 : p[i] < 0 ? -1 : p[i]);
    }
    if (!fleet->has_clip || isinf(network->clip)) return;
    double sum = 0;
    for (int64_t i = 0; i < self->n_numbers; i++) sum += (double)g[i] * g[i];
    double factor = network->clip / (sqrt(sum) + 1e-6);
    if (factor >= 1) return;
    for (int64_t i = 0; i < self->n_numbers; i++) g[i] *= (REAL)factor;
}

/* One optimizer step, as in torch.optim.  Returns 0 or an error code. */
static int NAME(update)(const NAME(Worker) *self) {
    const Fleet *fleet = self->fleet;
    const Network *network = self->network;
    REAL *restrict p = self->p, *restrict g = self->g, *restrict m = self->m, *restrict v = self->v;
    int64_t n = self->n_numbers;
    double lr = network->rates[self->step], count = (double)(network->n_steps + self->step + 1);
    REAL rate = (REAL)lr, momentum = (REAL)network->momentum, eps = (REAL)network->eps;
    REAL decay = (REAL)network->decay, beta = (REAL)network->beta_2;
    REAL new_1 = (REAL)(1 - network->momentum), new_2 = (REAL)(1 - network->beta_2);
    switch ((enum optimizer)fleet->optimizer) {
    case ADAM:
    case ADAMW: {
        REAL shrink = fleet->optimizer == ADAMW ? (REAL)(1 - lr * network->decay) : 1;
        REAL l2 = fleet->optimizer == ADAMW ? 0 : decay;
        /* Both sides of torch's quotient times the root: saves a division. */
        double root = sqrt(1 - pow(network->beta_2, count));
        REAL size = (REAL)(lr / (1 - pow(network->momentum, count)) * root);
        REAL small = (REAL)(network->eps * root);
        for (int64_t i = 0; i < n; i++) {
            REAL value = p[i] * shrink, gradient = g[i] + l2 * value;
            m[i] += new_1 * (gradient - m[i]);
            v[i] = beta * v[i] + new_2 * gradient * gradient;
            p[i] = value - size * (m[i] / (SQRT(v[i]) + small));
        }
        return 0;
    }
    case SGD: {
        int is_nesterov = fleet->nesterov && network->momentum > 0;
        for (int64_t i = 0; i < n; i++) {
            REAL gradient = g[i] + decay * p[i];
            m[i] = momentum * m[i] + gradient;
            p[i] -= rate * (is_nesterov ? gradient + momentum * m[i] : m[i]);
        }
        return 0;
    }
    case RMSPROP: /* m is the running mean of squares, v the momentum buffer. */
        for (int64_t i = 0; i < n; i++) {
            REAL gradient = g[i] + decay * p[i];
            m[i] = beta * m[i] + new_2 * gradient * gradient;
            v[i] = momentum * v[i] + gradient / (SQRT(m[i]) + eps);
            p[i] -= rate * v[i];
        }
        return 0;
    }
    return FAILED_NAME;
}

/* Score a network on its monitor samples after an epoch.  Returns 0 or an error code. */
static int NAME(score_monitor)(NAME(Worker) *self, double *sums) {
    const Network *network = self->network;
    int64_t n_outputs = self->fleet->layers[self->fleet->n_layers - 1].n_out, n;
    REAL unused;
    for (int64_t start = 0; start < network->n_monitored; start += n) {
        const int64_t *order = network->monitor_order + start;
        n = network->n_monitored - start;
        if (n > CHUNK) n = CHUNK;
        int failed = NAME(forward)(self, network->monitor_X, network->n_monitor_data, order, n, -1);
        if (!failed)
            failed = NAME(loss_and_gradient)(self, order, network->monitor_y,
                                             network->monitor_weight, 0, sums, &unused,
                                             (REAL *)network->outputs + start * n_outputs);
        if (failed) return failed;
    }
    return 0;
}

/* Request the rows and targets of a batch, which are rarely in the cache if X is large. */
static void NAME(prefetch)(const NAME(Worker) *self, const int64_t *order, int64_t n) {
    const Network *network = self->network;
    int64_t n_in = self->fleet->layers[0].n_in, line = 64 / sizeof(REAL);
    int64_t target = self->fleet->loss == CROSS_ENTROPY
                         ? sizeof(int64_t)
                         : self->fleet->layers[self->fleet->n_layers - 1].n_out * sizeof(REAL);
    for (int64_t i = 0; i < n; i++) {
        __builtin_prefetch((const char *)network->y + order[i] * target);
        for (int64_t j = 0; j < n_in; j += line)
            __builtin_prefetch((const REAL *)network->X + order[i] * n_in + j, 0, 2);
    }
}

/* Train on one batch.  Returns 0 or an error code. */
static int NAME(train_batch)(NAME(Worker) *self, const int64_t *order, int64_t n, int64_t step) {
    const Network *network = self->network;
    int64_t n_before = network->n_before + step;
    int64_t n_sums = SQUARES + self->fleet->layers[self->fleet->n_layers - 1].n_out;
    double *sums = network->sums + n_before / network->n_per_epoch * 2 * n_sums;
    REAL *loss = (REAL *)network->losses + step * network->loss_stride;
    int failed = NAME(forward)(self, network->X, network->n_samples, order, n, step);
    if (!failed)
        failed = NAME(loss_and_gradient)(self, order, network->y, network->weight,
                                         (REAL)network->smoothing, sums, loss, NULL);
    if (failed) return failed;
    NAME(backward)(self);
    NAME(apply_l1_and_clip)(self);
    failed = NAME(update)(self);
    if (failed) return failed;
    return (n_before + 1) % network->n_per_epoch ? 0 : NAME(score_monitor)(self, sums + n_sums);
}

/* Train on all batches of a network.  Returns 0 or an error code. */
static int NAME(train)(NAME(Worker) *self) {
    int64_t start = 0;
    NAME(transfer)(self, 3, 0);
    /* Gradients of absent biases are never written, but clipping a diverged network makes them NaN:
     * clear them for the next network. */
    memset(self->g, 0, (size_t)self->n_numbers * sizeof(REAL));
    for (int64_t step = 0; step < self->network->n_batches; step++) {
        int64_t n = self->network->batches[step];
        if (step + 1 < self->network->n_batches)
            NAME(prefetch)(self, self->network->order + start + n, self->network->batches[step + 1]);
        int failed = NAME(train_batch)(self, self->network->order + start, n, step);
        if (failed) return failed;
        start += n;
    }
    NAME(transfer)(self, 3, 1);
    return 0;
}

/* Predict with one network, in evaluation mode.  Returns 0 or an error code. */
static int NAME(predict)(NAME(Worker) *self) {
    const Network *network = self->network;
    int64_t n_outputs = self->fleet->layers[self->fleet->n_layers - 1].n_out, start = 0;
    NAME(transfer)(self, 1, 0);
    for (int64_t step = 0; step < network->n_batches; step++) {
        int64_t n = network->batches[step];
        const int64_t *order = network->order + start;
        int failed = NAME(forward)(self, network->X, network->n_samples, order, n, -1);
        if (failed) return failed;
        NAME(copy_predictions)(self, (REAL *)network->outputs + start * n_outputs);
        start += n;
    }
    return 0;
}

/* Thread function: process networks until none is left. */
static void *NAME(work)(void *argument) {
    Call *call = argument;
    NAME(Worker) self = {.fleet = call->fleet, .positions = call->positions};
    if (!NAME(reserve)(&self)) {
        atomic_store(&call->failed, FAILED_MEMORY);
    } else {
        int64_t i;
        while ((i = atomic_fetch_add(&call->next, 1)) < call->n_networks) {
            self.network = &call->networks[i];
            int failed = call->predicts ? NAME(predict)(&self) : NAME(train)(&self);
            if (failed) atomic_store(&call->failed, failed);
        }
    }
    NAME(release)(&self);
    return NULL;
}
