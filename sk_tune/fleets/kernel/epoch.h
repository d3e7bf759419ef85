/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Whole epochs of a network, for numbers of one kind: losses, optimizers, what is kept.
 */

/* Copy the weights of a network, and its moments as the second and third part, to where they are
 * computed with, or back. */
static void NAME(transfer)(const NAME(Worker) *own, int n_parts, int is_back) {
    REAL *kept[3] = {own->p, own->m, own->v};
    /* What is between the padded units: a network before this one may have left NaN there. */
    for (int part = 0; part < n_parts && !is_back; part++)
        memset(kept[part], 0, (size_t)own->n_numbers * sizeof(REAL));
    for (int64_t q = 0; q < own->plan->n_parameters; q++) {
        const Parameter *parameter = own->plan->parameters + q;
        int64_t n_rows = parameter->n_rows, n_columns = parameter->n_columns;
        int64_t padded = NAME(whole)(n_columns), size = n_rows * n_columns;
        int64_t n = n_rows * parameter->n_matrices;
        int64_t row = parameter->is_turned ? 1 : n_columns;
        int64_t column = parameter->is_turned ? n_rows : 1;
        int64_t inner = parameter->n_inner, outer = n_rows / inner;
        for (int part = 0; part < n_parts; part++) {
            REAL *theirs = own->network->parts[q * 3 + part], *ours = kept[part] + own->places[q];
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

/* Loss of a sample of C outputs; its derivative, times the sample's share, in `dy`. */
static REAL NAME(classes)(const REAL *x, int64_t target, int64_t n, REAL s, REAL share, REAL *dy) {
    REAL highest = x[0], sum = 0, mean = 0;
    for (int64_t j = 1; j < n; j++)
        if (x[j] > highest) highest = x[j];
    for (int64_t j = 0; j < n; j += LANES) AT(dy + j) = NAME(exp)(AT(x + j) - highest);
    NAME(clear_padding)(dy, 1, n);
    for (int64_t j = 0; j < n; j++) sum += dy[j];
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
        switch ((enum loss)kind) {
        case CROSS_ENTROPY: break; /* See classes. */
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
        }
        dy[j] = d * factor;
    }
    return loss / n;
}

/* The outputs of a line of the batch: of a sample, or of one member for it. */
static REAL *NAME(output)(const NAME(Worker) *own, int64_t i) {
    int64_t last = own->plan->n_layers - 1;
    return own->slots[last].y + i * NAME(whole)(own->plan->layers[last].n_out);
}

/* Outputs, log-probabilities, whose prediction is the mean of the members' probabilities. */
static void NAME(mean_of_classes)(const NAME(Worker) *own, int64_t i, int64_t n, int64_t n_outputs,
                                  REAL *to) {
    int64_t n_members = own->plan->n_members;
    for (int64_t k = 0; k < n_members; k++) {
        REAL *x = NAME(output)(own, k * n + i), highest = x[0], sum = 0, *e = own->dx;
        for (int64_t j = 1; j < n_outputs; j++) highest = x[j] > highest ? x[j] : highest;
        for (int64_t j = 0; j < n_outputs; j += LANES) AT(e + j) = NAME(exp)(AT(x + j) - highest);
        for (int64_t j = 0; j < n_outputs; j++) sum += e[j];
        own->dx[NAME(whole)(n_outputs) + k] = highest + LOG(sum);
    }
    const REAL *logs = own->dx + NAME(whole)(n_outputs);
    for (int64_t j = 0; j < n_outputs; j += LANES) {
        V highest = AT(NAME(output)(own, i) + j) - logs[0], sum = {0};
        for (int64_t k = 1; k < n_members; k++) {
            V x = AT(NAME(output)(own, k * n + i) + j) - logs[k];
            highest = NAME(select)(highest > x, highest, x);
        }
        for (int64_t k = 0; k < n_members; k++)
            sum += NAME(exp)(AT(NAME(output)(own, k * n + i) + j) - logs[k] - highest);
        AT(to + j) = highest;
        for (int64_t c = 0; c < LANES; c++) to[j + c] += LOG(sum[c] / (REAL)n_members);
    }
}

/* Log-odds of the mean of the members' probabilities. */
static REAL NAME(mean_of_labels)(const NAME(Worker) *own, int64_t i, int64_t n, int64_t j) {
    REAL odds[2];
    for (int side = 0; side < 2; side++) {
        REAL highest = 0, sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t k = 0; k < own->plan->n_members; k++) {
                REAL x = NAME(output)(own, k * n + i)[j] * (side ? -1 : 1);
                REAL log = (x < 0 ? x : 0) - LOG1P(EXP(-FABS(x)));
                if (pass) sum += EXP(log - highest);
                else if (k == 0 || log > highest) highest = log;
            }
        odds[side] = highest + LOG(sum);
    }
    return odds[0] - odds[1];
}

/* Outputs of all members together for a sample of n. */
static REAL *NAME(answer)(const NAME(Worker) *own, int64_t i, int64_t n) {
    const Plan *plan = own->plan;
    int64_t n_outputs = plan->layers[plan->n_layers - 1].n_out;
    if (plan->n_members == 1) return NAME(output)(own, i);
    REAL *to = own->combined + i * NAME(whole)(n_outputs);
    if (plan->link == SOFTMAX) NAME(mean_of_classes)(own, i, n, n_outputs, to);
    for (int64_t j = 0; j < n_outputs && plan->link == SIGMOID; j++)
        to[j] = NAME(mean_of_labels)(own, i, n, j);
    for (int64_t j = 0; j < n_outputs && plan->link == IDENTITY; j++) {
        REAL sum = 0;
        for (int64_t k = 0; k < plan->n_members; k++) sum += NAME(output)(own, k * n + i)[j];
        to[j] = sum / (REAL)plan->n_members;
    }
    NAME(clear_padding)(to, 1, n_outputs);
    return to;
}

/* Copy the outputs of the batch to where they are kept. */
static void NAME(keep_outputs)(const NAME(Worker) *own, REAL *to) {
    int64_t n_outputs = own->plan->layers[own->plan->n_layers - 1].n_out;
    int64_t n = own->n / own->plan->n_members;
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * n_outputs, NAME(answer)(own, i, n), (size_t)n_outputs * sizeof(REAL));
}

/* Whether all labels are told right by their log-odds. */
static int NAME(is_hit)(const REAL *x, const REAL *target, int64_t n) {
    for (int64_t j = 0; j < n; j++)
        if ((x[j] > 0) != (target[j] > (REAL)0.5)) return 0;
    return 1;
}

/* Add to the sums of the epoch; the mean loss goes to `loss`, its derivatives to `dy`.  Members
 * have a loss each while they train.  Outputs go to `kept`, unless it is NULL.  0 or what failed. */
static int NAME(judge)(const NAME(Worker) *own, const int64_t *order, const void *y,
                       const REAL *weight, REAL smoothing, double *sums, REAL *loss, REAL *kept) {
    const Plan *plan = own->plan;
    int64_t n_outputs = plan->layers[plan->n_layers - 1].n_out, best;
    int64_t n = own->n / plan->n_members, padded = NAME(whole)(n_outputs);
    int64_t n_losses = own->step < 0 ? 1 : plan->n_members;
    double total = 0;
    REAL weights = 0;
    for (int64_t i = 0; i < n; i++) weights += own->share[i] = weight ? weight[order[i]] : 1;
    for (int64_t i = 0; i < n; i++) {
        REAL own_weight = own->share[i], share = own_weight / weights / (REAL)n_losses;
        const REAL *answer = NAME(answer)(own, i, n);
        if (kept) memcpy(kept + i * n_outputs, answer, (size_t)n_outputs * sizeof(REAL));
        int64_t target = plan->loss == CROSS_ENTROPY ? ((const int64_t *)y)[order[i]] : 0;
        const REAL *targets = (const REAL *)y + order[i] * n_outputs;
        if (target < 0 || target >= n_outputs) return FAILED_TARGET;
        for (int64_t k = 0; k < n_losses; k++) {
            const REAL *x = n_losses > 1 ? NAME(output)(own, k * n + i) : answer;
            REAL *dy = own->dy + (k * n + i) * padded;
            NAME(clear_padding)(dy, 1, n_outputs);
            total += share * (plan->loss == CROSS_ENTROPY
                                  ? NAME(classes)(x, target, n_outputs, smoothing, share, dy)
                                  : NAME(numbers)(plan->loss, x, targets, n_outputs, smoothing,
                                                  share, dy));
        }
        if (plan->loss == CROSS_ENTROPY) {
            best = 0;
            for (int64_t j = 1; j < n_outputs; j++)
                if (answer[j] > answer[best]) best = j;
            if (best == target) sums[HITS] += own_weight;
            continue;
        }
        if (plan->loss == BINARY_CROSS_ENTROPY && NAME(is_hit)(answer, targets, n_outputs))
            sums[HITS] += own_weight;
        for (int64_t j = 0; j < n_outputs; j++) {
            REAL difference = answer[j] - targets[j];
            sums[SQUARES + j] += difference * difference * own_weight;
        }
    }
    *loss = (REAL)total;
    sums[LOSSES] += (double)*loss * weights;
    sums[WEIGHTS] += weights;
    return 0;
}

/* Penalty and clipping change the derivatives. */
static void NAME(restrain)(const NAME(Worker) *own) {
    const Plan *plan = own->plan;
    const Network *network = own->network;
    REAL *p = own->p, *g = own->g, l1 = (REAL)network->l1;
    for (int64_t q = 0; q < plan->n_parameters && plan->has_penalty; q++) {
        if (!plan->parameters[q].is_penalised) continue;
        for (int64_t i = own->places[q]; i < own->places[q + 1]; i++)
            g[i] += l1 * (p[i] > 0 ? 1 : p[i] < 0 ? -1 : p[i]);
    }
    if (!plan->has_clip || isinf(network->clip)) return;
    double sum = 0;
    for (int64_t i = 0; i < own->n_numbers; i++) sum += (double)g[i] * g[i];
    double factor = network->clip / (sqrt(sum) + 1e-6);
    if (factor >= 1) return;
    for (int64_t i = 0; i < own->n_numbers; i++) g[i] *= (REAL)factor;
}

/* A step of the optimizer, as in torch.optim.  0 or what failed. */
static int NAME(update)(const NAME(Worker) *own) {
    const Plan *plan = own->plan;
    const Network *network = own->network;
    REAL *restrict p = own->p, *restrict g = own->g, *restrict m = own->m, *restrict v = own->v;
    int64_t n = own->n_numbers;
    double lr = network->rates[own->step], count = (double)(network->n_steps + own->step + 1);
    REAL rate = (REAL)lr, momentum = (REAL)network->momentum, eps = (REAL)network->eps;
    REAL decay = (REAL)network->decay, beta = (REAL)network->beta_2;
    REAL new_1 = (REAL)(1 - network->momentum), new_2 = (REAL)(1 - network->beta_2);
    switch ((enum optimizer)plan->optimizer) {
    case ADAM:
    case ADAMW: {
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
        return 0;
    }
    case SGD: {
        int is_ahead = plan->nesterov && network->momentum > 0;
        for (int64_t i = 0; i < n; i++) {
            REAL own_g = g[i] + decay * p[i];
            m[i] = momentum * m[i] + own_g;
            p[i] -= rate * (is_ahead ? own_g + momentum * m[i] : m[i]);
        }
        return 0;
    }
    case RMSPROP: /* m is the mean of squares, v the buffer of the momentum. */
        for (int64_t i = 0; i < n; i++) {
            REAL own_g = g[i] + decay * p[i];
            m[i] = beta * m[i] + new_2 * own_g * own_g;
            v[i] = momentum * v[i] + own_g / (SQRT(m[i]) + eps);
            p[i] -= rate * v[i];
        }
        return 0;
    }
    return FAILED_NAME;
}

/* Judge a network by the samples that are looked at after an epoch.  0 or what failed. */
static int NAME(look)(NAME(Worker) *own, double *sums) {
    const Network *network = own->network;
    int64_t n_outputs = own->plan->layers[own->plan->n_layers - 1].n_out, n;
    REAL unread;
    for (int64_t start = 0; start < network->n_monitored; start += n) {
        const int64_t *order = network->monitor_order + start;
        n = network->n_monitored - start;
        if (n > AT_ONCE) n = AT_ONCE;
        int failed = NAME(forward)(own, network->monitor_X, network->n_monitor_data, order, n, -1);
        if (!failed)
            failed = NAME(judge)(own, order, network->monitor_y, network->monitor_weight, 0, sums,
                                 &unread, (REAL *)network->outputs + start * n_outputs);
        if (failed) return failed;
    }
    return 0;
}

/* One batch to train on.  0 or what failed. */
static int NAME(train_batch)(NAME(Worker) *own, const int64_t *order, int64_t n, int64_t step) {
    const Network *network = own->network;
    int64_t n_before = network->n_before + step;
    int64_t n_sums = SQUARES + own->plan->layers[own->plan->n_layers - 1].n_out;
    double *sums = network->sums + n_before / network->n_per_epoch * 2 * n_sums;
    REAL *loss = (REAL *)network->losses + step * network->loss_stride;
    int failed = NAME(forward)(own, network->X, network->n_samples, order, n, step);
    if (!failed)
        failed = NAME(judge)(own, order, network->y, network->weight, (REAL)network->smoothing,
                             sums, loss, NULL);
    if (failed) return failed;
    NAME(backward)(own);
    NAME(restrain)(own);
    failed = NAME(update)(own);
    if (failed) return failed;
    return (n_before + 1) % network->n_per_epoch ? 0 : NAME(look)(own, sums + n_sums);
}

/* All batches of a network.  0 or what failed. */
static int NAME(train)(NAME(Worker) *own) {
    int64_t start = 0;
    NAME(transfer)(own, 3, 0);
    /* Of what the layers do not have nothing is written, but clipping of a network that diverged
     * makes NaN of it. */
    memset(own->g, 0, (size_t)own->n_numbers * sizeof(REAL));
    for (int64_t step = 0; step < own->network->n_batches; step++) {
        int64_t n = own->network->batches[step];
        int failed = NAME(train_batch)(own, own->network->order + start, n, step);
        if (failed) return failed;
        start += n;
    }
    NAME(transfer)(own, 3, 1);
    return 0;
}

/* The outputs of one network, in evaluation mode.  0 or what failed. */
static int NAME(predict)(NAME(Worker) *own) {
    const Network *network = own->network;
    int64_t n_outputs = own->plan->layers[own->plan->n_layers - 1].n_out, start = 0;
    NAME(transfer)(own, 1, 0);
    for (int64_t step = 0; step < network->n_batches; step++) {
        int64_t n = network->batches[step];
        const int64_t *order = network->order + start;
        int failed = NAME(forward)(own, network->X, network->n_samples, order, n, -1);
        if (failed) return failed;
        NAME(keep_outputs)(own, (REAL *)network->outputs + start * n_outputs);
        start += n;
    }
    return 0;
}

/* What a thread does: networks, as long as some are left. */
static void *NAME(work)(void *argument) {
    Call *call = argument;
    NAME(Worker) own = {.plan = call->plan, .positions = call->positions};
    if (!NAME(reserve)(&own)) {
        atomic_store(&call->failed, FAILED_MEMORY);
    } else {
        int64_t i;
        while ((i = atomic_fetch_add(&call->next, 1)) < call->n_networks) {
            own.network = &call->networks[i];
            int failed = call->predicts ? NAME(predict)(&own) : NAME(train)(&own);
            if (failed) atomic_store(&call->failed, failed);
        }
    }
    NAME(release)(&own);
    return NULL;
}
