/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Forward and backward pass through the layers of one network, for one floating-point type.
 *
 * The padding is 0 in all outputs and gradients.
 */

/* Memory of a layer: input and output, (B, P), which may be the same; values saved for the backward
 * pass, (B, P); inverse deviations of a normalisation, P or B of them. */
typedef struct {
    REAL *x, *y, *saved, *scale;
} NAME(Slot);

/* A thread's memory and its current network. */
typedef struct {
    const Fleet *fleet;
    const Network *network;
    const int32_t *positions;
    /* Steps of each sample of the batch, for sequences. */
    int64_t *lengths;
    /* Lines of the batch at the current layer, and its step; -1 in evaluation mode. */
    int64_t n, step;
    /* All parameters, one after another: values, gradients and both moments. */
    REAL *p, *g, *m, *v;
    int64_t n_numbers;
    /* Start of each parameter, and the end of the last one. */
    int64_t *offsets;
    NAME(Slot) *slots;
    /* Gradients by the output and by the input of the current layer. */
    REAL *dy, *dx;
    /* Sums over the bins of each embedded column; cosines and sines of a number, and the gradient
     * by them.  A transposed weight matrix; scaled lines of one member; the inputs; shares in the
     * loss; predictions combined over members. */
    REAL *knots, *waves, *d_waves, *transposed, *scaled, *inputs, *share, *combined;
    /* Windows of some places; a zero-padded sample, and the gradient by it. */
    REAL *windows, *image, *d_image;
    int64_t n_image;
    char *block, *aligned;
    size_t n_bytes;
} NAME(Worker);

static int64_t NAME(padded)(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* Offset of a layer's parameter, counted from its first one, in memory. */
#define OFFSET(part) (self->offsets[layer->parameter + (part)])

static void NAME(clear_padding)(REAL *y, int64_t n, int64_t n_units) {
    int64_t padded = NAME(padded)(n_units);
    for (int64_t i = 0; i < n && padded > n_units; i++)
        memset(y + i * padded + n_units, 0, (size_t)(padded - n_units) * sizeof(REAL));
}

static int NAME(is_relu)(const Layer *layer) {
    return layer->kind == ACTIVATION && layer->option == RELU;
}

static int NAME(has_bias)(const NAME(Worker) *self, const Layer *layer) {
    return self->network->parts[3 * (layer->parameter + 1)] != NULL;
}

/* Pass the gradient by a layer's input on to the layer before it. */
static void NAME(swap)(NAME(Worker) *self) {
    REAL *previous = self->dy;
    self->dy = self->dx, self->dx = previous;
}

/* d_weight (n_rows, padded) = sum over n lines of x^T dy, added to d_weight if `adds`, by chunks
 * that keep dy in the nearest cache. */
static void NAME(weight_gradient)(int64_t n_rows, int64_t padded, int64_t n, const REAL *x,
                                  int64_t x_row, const REAL *dy, int64_t dy_row, REAL *d_weight,
                                  int adds) {
    if (!n && !adds) memset(d_weight, 0, (size_t)(n_rows * padded) * sizeof(REAL));
    for (int64_t i = 0; i < n; i += SUMMED)
        NAME(product)(n_rows, padded, n - i < SUMMED ? n - i : SUMMED, x + i * x_row, 1, x_row,
                      dy + i * dy_row, dy_row, d_weight, padded, adds || i ? d_weight : NULL,
                      padded);
}

static REAL NAME(sum)(V x) {
    REAL sum = 0;
    for (int64_t k = 0; k < LANES; k++) sum += x[k];
    return sum;
}

/* Scale the units of n lines. */
static void NAME(scale_lines)(int64_t n, int64_t padded, const REAL *x, const REAL *scale,
                              REAL *scaled) {
    for (int64_t i = 0; i < n * padded; i += padded)
        for (int64_t j = 0; j < padded; j += LANES)
            AT(scaled + i + j) = AT(x + i + j) * AT(scale + j);
}

/* Sum of n lines (padded). */
static void NAME(sum_lines)(int64_t n, int64_t padded, const REAL *dy, int64_t dy_row, REAL *sum) {
    memset(sum, 0, (size_t)padded * sizeof(REAL));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < padded; j++) sum[j] += dy[i * dy_row + j];
}

/* Transpose a matrix (n_in, P) to (n_out, row), padded with 0. */
static void NAME(transpose)(const REAL *w, int64_t n_in, int64_t n_out, REAL *transposed) {
    int64_t row = NAME(padded)(n_in), padded = NAME(padded)(n_out);
    /* Both matrices by whole cache lines. */
    for (int64_t first = 0; first < n_in; first += LANES) {
        int64_t end = first + LANES < n_in ? first + LANES : n_in;
        for (int64_t i = 0; i < n_out; i++)
            for (int64_t j = first; j < end; j++) transposed[i * row + j] = w[j * padded + i];
    }
    NAME(clear_padding)(transposed, n_out, n_in);
}

/* Whether all members read the same lines, which MEMBERS then does not copy. */
static int NAME(is_shared)(const NAME(Worker) *self, const Layer *layer) {
    return layer > self->fleet->layers && layer[-1].kind == MEMBERS && layer->kind != BRANCH;
}

static void NAME(linear)(const NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t row = NAME(padded)(layer->n_in), padded = NAME(padded)(layer->n_out);
    int64_t n = self->n / layer->n_members, size = NAME(is_shared)(self, layer) ? 0 : n * row;
    for (int64_t k = 0; k < layer->n_members; k++)
        NAME(product)(n, padded, layer->n_in, slot->x + k * size, row, 1,
                      self->p + OFFSET(0) + k * layer->n_in * padded, padded,
                      slot->y + k * n * padded, padded, self->p + OFFSET(1) + k * padded, 0);
}

static void NAME(linear_backward)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot,
                                  int is_first) {
    int64_t n_in = layer->n_in, n_out = layer->n_out, n = self->n / layer->n_members;
    int64_t row = NAME(padded)(n_in), padded = NAME(padded)(n_out);
    int64_t size = NAME(is_shared)(self, layer) ? 0 : n * row;
    for (int64_t k = 0; k < layer->n_members; k++) {
        const REAL *dy = self->dy + k * n * padded;
        REAL *dx = self->dx + k * size;
        NAME(weight_gradient)(n_in, padded, n, slot->x + k * size, row, dy, padded,
                              self->g + OFFSET(0) + k * n_in * padded, 0);
        if (NAME(has_bias)(self, layer))
            NAME(sum_lines)(n, padded, dy, padded, self->g + OFFSET(1) + k * padded);
        if (is_first) continue;
        NAME(transpose)(self->p + OFFSET(0) + k * n_in * padded, n_in, n_out, self->transposed);
        NAME(product)(n, row, n_out, dy, padded, 1, self->transposed, row, dx, row,
                      k && !size ? dx : NULL, row);
    }
    if (!is_first) NAME(swap)(self);
}

/* A linear layer with few outputs, whose weights (n_out, P) are stored by output. */
static void NAME(narrow)(const NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t row = NAME(padded)(layer->n_in), n_out = layer->n_out, padded = NAME(padded)(n_out);
    int64_t n = self->n / layer->n_members, size = NAME(is_shared)(self, layer) ? 0 : n * row;
    for (int64_t i = 0; i < self->n; i++) {
        const REAL *x = slot->x + i / n * size + i % n * row;
        const REAL *weight = self->p + OFFSET(0) + i / n * n_out * row;
        for (int64_t c = 0; c < n_out; c++, weight += row) {
            V sum = {0};
            for (int64_t j = 0; j < row; j += LANES) sum += AT(x + j) * AT(weight + j);
            slot->y[i * padded + c] =
                NAME(sum)(sum) + self->p[OFFSET(1) + i / n * padded + c];
        }
    }
    NAME(clear_padding)(slot->y, self->n, n_out);
}

static void NAME(narrow_backward)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot,
                                  int is_first) {
    int64_t row = NAME(padded)(layer->n_in), n_out = layer->n_out, padded = NAME(padded)(n_out);
    int64_t n = self->n / layer->n_members;
    int is_shared = NAME(is_shared)(self, layer);
    for (int64_t k = 0; k < layer->n_members; k++) {
        const REAL *dy = self->dy + k * n * padded, *x = slot->x + (is_shared ? 0 : k * n * row);
        REAL *dx = self->dx + (is_shared ? 0 : k * n * row);
        const REAL *weight = self->p + OFFSET(0) + k * n_out * row;
        REAL *d_weight = self->g + OFFSET(0) + k * n_out * row;
        if (NAME(has_bias)(self, layer))
            NAME(sum_lines)(n, padded, dy, padded, self->g + OFFSET(1) + k * padded);
        for (int64_t j = 0; j < row; j += LANES) {
            for (int64_t c = 0; c < n_out; c++) {
                V sum = {0};
                for (int64_t i = 0; i < n; i++) sum += dy[i * padded + c] * AT(x + i * row + j);
                AT(d_weight + c * row + j) = sum;
            }
            for (int64_t i = 0; i < n && !is_first; i++) {
                V sum = {0};
                if (is_shared && k) sum = AT(dx + i * row + j);
                for (int64_t c = 0; c < n_out; c++)
                    sum += dy[i * padded + c] * AT(weight + c * row + j);
                AT(dx + i * row + j) = sum;
            }
        }
    }
    if (!is_first) NAME(swap)(self);
}

/* y = s (W (r x)) + b with one W for all members; r, s and b are vectors of each member. */
static void NAME(member_linear)(const NAME(Worker) *self, const Layer *layer,
                                const NAME(Slot) *slot) {
    int64_t row = NAME(padded)(layer->n_in), padded = NAME(padded)(layer->n_out);
    int64_t n = self->n / layer->n_members, size = NAME(is_shared)(self, layer) ? 0 : n * row;
    for (int64_t k = 0; k < layer->n_members; k++) {
        const REAL *r = self->p + OFFSET(0) + k * row, *s = self->p + OFFSET(2) + k * padded;
        const REAL *b = self->p + OFFSET(3) + k * padded;
        REAL *z = slot->saved + k * n * padded, *y = slot->y + k * n * padded;
        NAME(scale_lines)(n, row, slot->x + k * size, r, self->scaled);
        NAME(product)(n, padded, layer->n_in, self->scaled, row, 1, self->p + OFFSET(1), padded, z,
                      padded, NULL, 0);
        for (int64_t i = 0; i < n * padded; i += padded)
            for (int64_t j = 0; j < padded; j += LANES)
                AT(y + i + j) = AT(z + i + j) * AT(s + j) + AT(b + j);
    }
}

static void NAME(member_linear_backward)(NAME(Worker) *self, const Layer *layer,
                                         const NAME(Slot) *slot, int is_first) {
    int64_t row = NAME(padded)(layer->n_in), padded = NAME(padded)(layer->n_out);
    int64_t n = self->n / layer->n_members, size = NAME(is_shared)(self, layer) ? 0 : n * row;
    NAME(transpose)(self->p + OFFSET(1), layer->n_in, layer->n_out, self->transposed);
    for (int64_t k = 0; k < layer->n_members; k++) {
        const REAL *x = slot->x + k * size, *z = slot->saved + k * n * padded;
        const REAL *r = self->p + OFFSET(0) + k * row, *s = self->p + OFFSET(2) + k * padded;
        REAL *dy = self->dy + k * n * padded, *dx = self->dx + k * size;
        for (int64_t j = 0; j < padded; j += LANES) {
            V d_s = {0}, d_b = {0};
            for (int64_t i = j; i < n * padded; i += padded) {
                d_b += AT(dy + i);
                d_s += AT(dy + i) * AT(z + i);
                AT(dy + i) *= AT(s + j);
            }
            AT(self->g + OFFSET(2) + k * padded + j) = d_s;
            AT(self->g + OFFSET(3) + k * padded + j) = d_b;
        }
        NAME(scale_lines)(n, row, x, r, self->scaled);
        NAME(weight_gradient)(layer->n_in, padded, n, self->scaled, row, dy, padded,
                              self->g + OFFSET(1), k > 0);
        NAME(product)(n, row, layer->n_out, dy, padded, 1, self->transposed, row, self->scaled,
                      row, NULL, 0);
        for (int64_t j = 0; j < row; j += LANES) {
            V d_r = {0};
            for (int64_t i = j; i < n * row; i += row) {
                V d_scaled = AT(self->scaled + i);
                d_r += d_scaled * AT(x + i);
                if (k && !size) AT(dx + i) += d_scaled * AT(r + j);
                else AT(dx + i) = d_scaled * AT(r + j);
            }
            AT(self->g + OFFSET(0) + k * row + j) = d_r;
        }
    }
    if (!is_first) NAME(swap)(self);
}

/* ReLU's slope follows from its output; other slopes are saved. */
static void NAME(activation)(const NAME(Worker) *self, const Layer *layer,
                             const NAME(Slot) *slot) {
    int64_t size = self->n * NAME(padded)(layer->n_out), function = layer->option;
    REAL *x = slot->x, *y = slot->y, number = (REAL)layer->number;
    V unused;
    if (function == RELU)
        for (int64_t i = 0; i < size; i++) y[i] = x[i] < 0 ? 0 : x[i];
    else if (self->step < 0)
        for (int64_t i = 0; i < size; i += LANES)
            AT(y + i) = NAME(function)(function, AT(x + i), number, &unused);
    else
        for (int64_t i = 0; i < size; i += LANES) {
            V slope;
            AT(y + i) = NAME(function)(function, AT(x + i), number, &slope);
            AT(slot->saved + i) = slope;
        }
    if (function == LOGISTIC) NAME(clear_padding)(y, self->n, layer->n_out);
}

static void NAME(activation_backward)(NAME(Worker) *self, const Layer *layer,
                                      const NAME(Slot) *slot) {
    int64_t size = self->n * NAME(padded)(layer->n_out);
    const REAL *restrict y = slot->y, *restrict saved = slot->saved;
    REAL *restrict dy = self->dy;
    if (layer->option == RELU)
        for (int64_t i = 0; i < size; i++) dy[i] = y[i] <= 0 ? 0 : dy[i];
    else
        for (int64_t i = 0; i < size; i++) dy[i] *= saved[i];
}

/* Apply a dropout mask to x; y may be the same memory. */
static void NAME(apply_mask)(const NAME(Worker) *self, const Layer *layer, const REAL *x, REAL *y) {
    const Network *network = self->network;
    int64_t n_units = layer->n_out, padded = NAME(padded)(n_units), index = layer->option;
    uint32_t step = (uint32_t)(network->first_step + self->step);
    uint32_t key = mixed((uint32_t)network->keys[index] + step * GOLDEN);
    uint32_t a = key | 1, b = mixed(key ^ GOLDEN);
    int32_t threshold = network->thresholds[index];
    REAL scale = ((const REAL *)network->scales)[index];
    int64_t n = self->n / layer->n_lines, n_places = layer->n_places;
    for (int64_t i = 0; i < self->n; i++) {
        /* Torch stores the lines of a sample, and the places of a channel, one after another. */
        int64_t line = i % n * layer->n_lines + i / n;
        int64_t first = line / n_places * n_places * n_units + line % n_places;
        const int32_t *positions = self->positions + first;
#define APPLY(place)                                                                \
    for (int64_t j = 0; j < n_units; j++) {                                         \
        int32_t bits = (int32_t)((uint32_t)positions[place] * a + b);               \
        /* A product, so that infinities and NaN do not become 0. */                \
        y[i * padded + j] = x[i * padded + j] * (bits >= threshold ? scale : 0);    \
    }
        /* The compiler vectorises the first loop. */
        if (n_places == 1) APPLY(j) else APPLY(j * n_places)
#undef APPLY
    }
}

static void NAME(dropout)(const NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t size = self->n * NAME(padded)(layer->n_out);
    if (self->fleet->has_dropout && self->step >= 0)
        NAME(apply_mask)(self, layer, slot->x, slot->y);
    else if (slot->x != slot->y)
        memcpy(slot->y, slot->x, (size_t)size * sizeof(REAL));
}

/* Behind ReLU, dropped units have output 0, so that ReLU's derivative applies the mask. */
static void NAME(dropout_backward)(NAME(Worker) *self, const Layer *layer) {
    int64_t size = self->n * NAME(padded)(layer->n_out);
    if (!self->fleet->has_dropout) return;
    if (layer > self->fleet->layers && NAME(is_relu)(layer - 1)) {
        REAL scale = ((const REAL *)self->network->scales)[layer->option];
        for (int64_t i = 0; i < size; i++) self->dy[i] *= scale;
    } else {
        NAME(apply_mask)(self, layer, self->dy, self->dy);
    }
}

/* Normalise over the samples of the batch, and update the running statistics.  The inverse
 * deviation of the padding is 0.  Returns 0 or an error code. */
static int NAME(batch_norm)(const NAME(Worker) *self, const Layer *layer,
                            const NAME(Slot) *slot) {
    int64_t n = self->n, padded = NAME(padded)(layer->n_out);
    const REAL *weight = self->p + OFFSET(0), *bias = self->p + OFFSET(1);
    REAL *scale = slot->scale, *mean = slot->scale + padded, eps = (REAL)layer->number;
    void *const *buffers = self->network->buffers + layer->buffer;
    REAL *running_mean = buffers[0], *running_variance = buffers[1];
    if (self->step >= 0) {
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
            AT(slot->saved + i + j) = z;
            AT(slot->y + i + j) = z * AT(weight + j) + AT(bias + j);
        }
    return 0;
}

/* Normalise over the units of each sample. */
static void NAME(layer_norm)(const NAME(Worker) *self, const Layer *layer,
                             const NAME(Slot) *slot) {
    int64_t n_units = layer->n_out, padded = NAME(padded)(n_units);
    const REAL *weight = self->p + OFFSET(0), *bias = self->p + OFFSET(1);
    for (int64_t i = 0; i < self->n; i++) {
        const REAL *x = slot->x + i * padded;
        REAL *y = slot->y + i * padded, *z = slot->saved + i * padded;
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

static void NAME(norm_backward)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot,
                                int is_first) {
    int64_t n = self->n, n_units = layer->n_out, padded = NAME(padded)(n_units);
    const REAL *weight = self->p + OFFSET(0);
    for (int64_t j = 0; j < padded; j += LANES) {
        V d_weight = {0}, d_bias = {0};
        REAL *dy = self->dy + j, *z = slot->saved + j;
        for (int64_t i = 0; i < n * padded; i += padded) {
            d_bias += AT(dy + i);
            d_weight += AT(dy + i) * AT(z + i);
        }
        AT(self->g + OFFSET(0) + j) = d_weight;
        AT(self->g + OFFSET(1) + j) = d_bias;
        if (layer->kind == LAYER_NORM) continue;
        V factor = AT(weight + j) * AT(slot->scale + j), mean = d_bias / (REAL)n;
        V along = d_weight / (REAL)n;
        for (int64_t i = 0; i < n * padded; i += padded)
            AT(dy + i) = factor * (AT(dy + i) - mean - AT(z + i) * along);
    }
    if (layer->kind == BATCH_NORM || is_first) return;
    for (int64_t i = 0; i < n; i++) {
        REAL *dy = self->dy + i * padded, *z = slot->saved + i * padded;
        V sum = {0}, products = {0};
        for (int64_t j = 0; j < padded; j += LANES) {
            V dz = AT(dy + j) * AT(weight + j);
            AT(dy + j) = dz;
            sum += dz;
            products += dz * AT(z + j);
        }
        REAL mean = NAME(sum)(sum) / (REAL)n_units, scale = slot->scale[i];
        REAL along = NAME(sum)(products) / (REAL)n_units;
        for (int64_t j = 0; j < padded; j += LANES)
            AT(dy + j) = scale * (AT(dy + j) - mean - AT(z + j) * along);
    }
    NAME(clear_padding)(self->dy, n, n_units);
}

/* Repeat the samples for each member, unless the next layer reads them repeatedly. */
static void NAME(members)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t size = self->n * NAME(padded)(layer->n_out);
    for (int64_t k = 0; k < layer->n_members && !NAME(is_shared)(self, layer + 1); k++)
        memcpy(slot->y + k * size, slot->x, (size_t)size * sizeof(REAL));
    self->n *= layer->n_members;
}

static void NAME(members_backward)(NAME(Worker) *self, const Layer *layer) {
    self->n /= layer->n_members;
    int64_t size = self->n * NAME(padded)(layer->n_out);
    for (int64_t k = 1; k < layer->n_members && !NAME(is_shared)(self, layer + 1); k++)
        for (int64_t i = 0; i < size; i++) self->dy[i] += self->dy[k * size + i];
}

/* The last bin of a column that starts below x, or the first; the position within it, clipped to
 * [0, 1], as `share`.  Bins without a slope are missing. */
static inline int64_t NAME(bin)(REAL x, const REAL *starts, const REAL *slopes, int64_t n_bins,
                                REAL *share) {
    int n_below = 0;
    for (int64_t t = 0; t < n_bins; t++) n_below += (x >= starts[t]) & (slopes[t] > 0);
    int64_t bin = n_below ? n_below - 1 : 0;
    REAL position = (x - starts[bin]) * slopes[bin];
    *share = position < 0 ? 0 : position > 1 ? 1 : position;
    return bin;
}

/* Cosines, then sines, of number k of a table. */
static void NAME(number_waves)(const NAME(Worker) *self, const Layer *layer, int64_t k,
                               REAL value) {
    int64_t n = self->fleet->table.n_frequencies;
    const REAL *frequencies = self->p + OFFSET(0) + k * NAME(padded)(n);
    for (int64_t t = 0; t < n; t += LANES) {
        V sine, cosine = NAME(cosine)(value * AT(frequencies + t), &sine);
        AT(self->waves + t) = cosine;
        AT(self->d_waves + t) = sine;
    }
    memcpy(self->waves + n, self->d_waves, (size_t)n * sizeof(REAL));
}

/* Embedding of number k of a table by its waves; writes whole vectors to `y`. */
static void NAME(embed_by_waves)(const NAME(Worker) *self, const Layer *layer, int64_t k,
                                 REAL value, REAL *y) {
    int64_t n = 2 * self->fleet->table.n_frequencies, size = self->fleet->table.size;
    int64_t padded = NAME(padded)(size);
    NAME(number_waves)(self, layer, k, value);
    for (int64_t j = 0; j < size; j += LANES) {
        const REAL *weight = self->p + OFFSET(2) + k * n * padded + j;
        V sum = AT(self->p + OFFSET(1) + k * padded + j);
        for (int64_t t = 0; t < n; t++) sum += self->waves[t] * AT(weight + t * padded);
        AT(y + j) = NAME(select)(sum < 0, (V){0}, sum);
    }
}

/* Add the gradients by the parameters of number k, given its embedding and the gradient by it. */
static void NAME(waves_backward)(const NAME(Worker) *self, const Layer *layer, int64_t k,
                                 REAL value, const REAL *y, const REAL *dy) {
    int64_t n = self->fleet->table.n_frequencies, size = self->fleet->table.size;
    int64_t padded = NAME(padded)(size), first = OFFSET(2) + k * 2 * n * padded;
    REAL *d_frequency = self->g + OFFSET(0) + k * NAME(padded)(n), *d = self->d_waves;
    NAME(number_waves)(self, layer, k, value);
    memset(d, 0, (size_t)(2 * n) * sizeof(REAL));
    for (int64_t j = 0; j < size; j += LANES) {
        V part = {0};
        for (int64_t l = 0; l < LANES && j + l < size; l++)
            part[l] = y[j + l] <= 0 ? 0 : dy[j + l];
        AT(self->g + OFFSET(1) + k * padded + j) += part;
        for (int64_t t = 0, place = first + j; t < 2 * n; t++, place += padded) {
            AT(self->g + place) += self->waves[t] * part;
            d[t] += NAME(sum)(AT(self->p + place) * part);
        }
    }
    for (int64_t t = 0; t < n; t++) {
        REAL d_turns = d[n + t] * self->waves[t] - d[t] * self->waves[n + t];
        d_frequency[t] += d_turns * value * (REAL)6.283185307179586;
    }
}

/* Offset of the numbers of a category's code; unknown codes share code 0. */
static int64_t NAME(code_offset)(const NAME(Worker) *self, const Layer *layer, int64_t column,
                                 REAL x) {
    const int64_t *codes = self->network->buffers[layer->buffer + 2];
    const int64_t *offsets = self->network->buffers[layer->buffer + 3];
    const int64_t *n_codes = self->network->buffers[layer->buffer + 4];
    int64_t code = x >= 0 && x < (REAL)n_codes[column] ? (int64_t)x : 0;
    return codes[code + offsets[column]];
}

/* Columns of a table as inputs.  Parameters: slopes (or frequencies) and intercepts of lines,
 * weights of bins (or waves), numbers of codes.  Buffers: starts and slopes of bins; known codes,
 * offsets, number of codes.  A value is beyond all bins before its own: `knots` has their sums. */
static void NAME(table)(const NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    const Table *table = &self->fleet->table;
    int64_t size = table->size, padded = NAME(padded)(size), n_bins = table->n_bins;
    int64_t code_size = table->category_size;
    const REAL *starts = self->network->buffers[layer->buffer];
    const REAL *slopes = self->network->buffers[layer->buffer + 1];
    for (int64_t k = 0; k < table->n_embedded; k++)
        for (int64_t j = 0; j < padded; j += LANES) {
            V sum = AT(self->p + OFFSET(1) + k * padded + j);
            for (int64_t t = k * n_bins; t < (k + 1) * n_bins; t++) {
                AT(self->knots + t * padded + j) = sum;
                sum += AT(self->p + OFFSET(2) + t * padded + j);
            }
        }
    for (int64_t i = 0; i < self->n; i++) {
        const REAL *x = slot->x + i * NAME(padded)(layer->n_in);
        REAL *y = slot->y + i * NAME(padded)(layer->n_out), share;
        const int64_t *columns = table->columns;
        for (int64_t k = 0; k < table->n_embedded; k++, y += size) {
            REAL value = x[*columns++];
            if (table->n_frequencies) {
                NAME(embed_by_waves)(self, layer, k, value, y);
                continue;
            }
            int64_t bin = k * n_bins + NAME(bin)(value, starts + k * n_bins, slopes + k * n_bins,
                                                 n_bins, &share);
            /* The next column or line overwrites what is written beyond `size`. */
            for (int64_t j = 0; j < size; j += LANES)
                AT(y + j) = value * AT(self->p + OFFSET(0) + k * padded + j) +
                            AT(self->knots + bin * padded + j) +
                            share * AT(self->p + OFFSET(2) + bin * padded + j);
        }
        for (int64_t k = 0; k < table->n_plain; k++) *y++ = x[*columns++];
        for (int64_t k = 0; k < table->n_categories; k++, y += code_size) {
            REAL value = x[*columns++];
            int64_t place = NAME(code_offset)(self, layer, k, value) * NAME(padded)(code_size);
            memcpy(y, self->p + OFFSET(3) + place, (size_t)code_size * sizeof(REAL));
        }
    }
    NAME(clear_padding)(slot->y, self->n, layer->n_out);
}

static void NAME(table_backward)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    const Table *table = &self->fleet->table;
    int64_t size = table->size, padded = NAME(padded)(size), n_bins = table->n_bins;
    int64_t code_size = table->category_size;
    const REAL *starts = self->network->buffers[layer->buffer];
    const REAL *slopes = self->network->buffers[layer->buffer + 1];
    I is_inside;
    for (int64_t l = 0; l < LANES; l++) is_inside[l] = padded - LANES + l < size ? -1 : 0;
    memset(self->g + OFFSET(0), 0, (size_t)(OFFSET(4) - OFFSET(0)) * sizeof(REAL));
    memset(self->knots, 0, (size_t)(table->n_embedded * n_bins * padded) * sizeof(REAL));
    for (int64_t i = 0; i < self->n; i++) {
        const REAL *x = slot->x + i * NAME(padded)(layer->n_in);
        const REAL *dy = self->dy + i * NAME(padded)(layer->n_out);
        const REAL *y = slot->y + i * NAME(padded)(layer->n_out);
        const int64_t *columns = table->columns;
        REAL share;
        for (int64_t k = 0; k < table->n_embedded; k++, y += size, dy += size) {
            REAL value = x[*columns++];
            if (table->n_frequencies) {
                NAME(waves_backward)(self, layer, k, value, y, dy);
                continue;
            }
            int64_t bin = k * n_bins + NAME(bin)(value, starts + k * n_bins, slopes + k * n_bins,
                                                 n_bins, &share);
            for (int64_t j = 0; j < size; j += LANES) {
                V part = AT(dy + j);
                if (j + LANES > size) part = NAME(select)(is_inside, part, (V){0});
                AT(self->g + OFFSET(0) + k * padded + j) += value * part;
                AT(self->g + OFFSET(2) + bin * padded + j) += share * part;
                AT(self->knots + bin * padded + j) += part;
            }
        }
        columns += table->n_plain, dy += table->n_plain;
        for (int64_t k = 0; k < table->n_categories; k++, dy += code_size) {
            REAL value = x[*columns++];
            int64_t place = NAME(code_offset)(self, layer, k, value) * NAME(padded)(code_size);
            REAL *code = self->g + OFFSET(3) + place;
            for (int64_t j = 0; j < code_size; j++) code[j] += dy[j];
        }
    }
    for (int64_t k = 0; k < table->n_embedded && n_bins; k++)
        for (int64_t j = 0; j < padded; j += LANES) {
            V beyond = {0};
            for (int64_t t = (k + 1) * n_bins - 1; t >= k * n_bins; t--) {
                AT(self->g + OFFSET(2) + t * padded + j) += beyond;
                beyond += AT(self->knots + t * padded + j);
            }
            AT(self->g + OFFSET(1) + k * padded + j) = beyond;
        }
}

/* Add the input of a residual block to its output. */
static void NAME(join)(const NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    const REAL *block_input = self->slots[layer->option].x;
    for (int64_t i = 0; i < self->n * NAME(padded)(layer->n_out); i++)
        slot->y[i] = slot->x[i] + block_input[i];
}

#include "recurrence.h"
#include "convolution.h"

/* Outputs of all layers for n samples of X.  Returns 0 or an error code. */
static int NAME(forward)(NAME(Worker) *self, const REAL *X, int64_t n_samples,
                         const int64_t *order, int64_t n, int64_t step) {
    int64_t n_in = self->fleet->layers[0].n_in, row = NAME(padded)(n_in);
    for (int64_t i = 0; i < n; i++) {
        if (order[i] < 0 || order[i] >= n_samples) return FAILED_INDEX;
        memcpy(self->inputs + i * row, X + order[i] * n_in, (size_t)n_in * sizeof(REAL));
    }
    self->n = n, self->step = step;
    for (int64_t l = 0; l < self->fleet->n_layers; l++) {
        const Layer *layer = self->fleet->layers + l;
        const NAME(Slot) *slot = self->slots + l;
        switch ((enum kind)layer->kind) {
        case LINEAR: NAME(linear)(self, layer, slot); break;
        case ACTIVATION: NAME(activation)(self, layer, slot); break;
        case DROPOUT: NAME(dropout)(self, layer, slot); break;
        case LAYER_NORM: NAME(layer_norm)(self, layer, slot); break;
        case BATCH_NORM:
            if (NAME(batch_norm)(self, layer, slot)) return FAILED_BATCH;
            break;
        case BRANCH: break;
        case JOIN: NAME(join)(self, layer, slot); break;
        case TABLE: NAME(table)(self, layer, slot); break;
        case MEMBERS: NAME(members)(self, layer, slot); break;
        case MEMBER_LINEAR: NAME(member_linear)(self, layer, slot); break;
        case NARROW: NAME(narrow)(self, layer, slot); break;
        case STEPS: NAME(steps)(self, layer, slot); break;
        case RECURRENCE: NAME(recurrence)(self, layer, slot); break;
        case LAST: NAME(last)(self, layer, slot); break;
        case IMAGES: NAME(images)(self, layer, slot); break;
        case CONVOLUTION: NAME(convolution)(self, layer, slot); break;
        case POOL: NAME(pool)(self, layer, slot); break;
        case FLATTEN: NAME(flatten)(self, layer, slot); break;
        }
    }
    return 0;
}

/* Gradients by all parameters, from the gradient by the outputs in `dy`. */
static void NAME(backward)(NAME(Worker) *self) {
    for (int64_t l = self->fleet->n_layers - 1; l >= self->fleet->first; l--) {
        const Layer *layer = self->fleet->layers + l;
        const NAME(Slot) *slot = self->slots + l;
        int64_t size = self->n * NAME(padded)(layer->n_out);
        int is_first = l == self->fleet->first;
        switch ((enum kind)layer->kind) {
        case LINEAR: NAME(linear_backward)(self, layer, slot, is_first); break;
        case ACTIVATION: NAME(activation_backward)(self, layer, slot); break;
        case DROPOUT: NAME(dropout_backward)(self, layer); break;
        case LAYER_NORM:
        case BATCH_NORM: NAME(norm_backward)(self, layer, slot, is_first); break;
        case JOIN: memcpy(slot->saved, self->dy, (size_t)size * sizeof(REAL)); break;
        case BRANCH:
            for (int64_t i = 0; i < size; i++)
                self->dy[i] += self->slots[layer->option].saved[i];
            break;
        case TABLE: NAME(table_backward)(self, layer, slot); break;
        case STEPS:
        case IMAGES: break; /* The first layer, without parameters. */
        case MEMBERS: NAME(members_backward)(self, layer); break;
        case MEMBER_LINEAR: NAME(member_linear_backward)(self, layer, slot, is_first); break;
        case NARROW: NAME(narrow_backward)(self, layer, slot, is_first); break;
        case RECURRENCE: NAME(recurrence_backward)(self, layer, slot, is_first); break;
        case LAST: NAME(last_backward)(self, layer); break;
        case CONVOLUTION: NAME(convolution_backward)(self, layer, slot, is_first); break;
        case POOL: NAME(pool_backward)(self, layer, slot); break;
        case FLATTEN: NAME(flatten_backward)(self, layer); break;
        }
    }
}

/* Whether a layer's output is read again after the next layer. */
static int NAME(is_read_later)(const Layer *layers, int64_t l) {
    if (l < 0) return 0;
    int is_passed_on = layers[l].kind == DROPOUT && NAME(is_read_later)(layers, l - 1);
    int64_t kind = layers[l].kind;
    return is_passed_on || kind == BRANCH || kind == RECURRENCE || NAME(is_relu)(layers + l);
}

/* Whether a layer has memory for its output instead of overwriting its input. */
static int NAME(has_output)(const Layer *layers, int64_t l) {
    int64_t kind = layers[l].kind;
    if (kind == MEMBERS) return layers[l + 1].kind == BRANCH;
    if (kind == LINEAR || kind == JOIN || kind >= TABLE) return 1;
    if (layers[l].kind == BRANCH || l == 0) return 0;
    /* The output of dropout gives ReLU's derivative, too. */
    if (layers[l].kind == DROPOUT && NAME(is_relu)(layers + l - 1)) return 0;
    return NAME(is_read_later)(layers, l - 1);
}

/* The next n numbers of a thread's memory; NULL while the size is being computed. */
static REAL *NAME(next_block)(NAME(Worker) *self, int64_t n) {
    REAL *block = self->block ? (REAL *)(self->aligned + self->n_bytes) : NULL;
    self->n_bytes += ((size_t)n * sizeof(REAL) / ALIGNMENT + 1) * ALIGNMENT;
    return block;
}

/* Divide the memory of a thread. */
static void NAME(divide_memory)(NAME(Worker) *self) {
    const Fleet *fleet = self->fleet;
    int64_t most = fleet->most_samples, n_most = 0, largest = 0, n_windows = 0, n_scaled = 0;
    int64_t n = fleet->table.n_embedded * fleet->table.n_bins * NAME(padded)(fleet->table.size);
    self->knots = NAME(next_block)(self, n);
    self->waves = NAME(next_block)(self, 2 * fleet->table.n_frequencies + LANES);
    self->d_waves = NAME(next_block)(self, 2 * fleet->table.n_frequencies + LANES);
    n = 0;
    REAL *x = self->inputs = NAME(next_block)(self, most * NAME(padded)(fleet->layers[0].n_in));
    for (int64_t l = 0; l < fleet->n_layers; l++) {
        const Layer *layer = fleet->layers + l;
        NAME(Slot) *slot = self->slots + l;
        int64_t padded = NAME(padded)(layer->n_out), row = NAME(padded)(layer->n_in);
        if (most * row > n_most) n_most = most * row;
        if (layer->kind == MEMBERS) most *= layer->n_members;
        if (layer->kind == STEPS) most *= layer->n_lines;
        if (layer->kind == LAST) most /= layer->n_lines;
        if (layer->kind >= IMAGES && layer->kind <= FLATTEN)
            most = fleet->most_samples * layer->n_places;
        if (layer->kind == CONVOLUTION) {
            int64_t n_channels = NAME(padded)(l ? layer->n_in : layer->n_in / layer->n_before);
            int64_t depth = layer->n_cells * layer->n_run * n_channels;
            int64_t n_image = layer->n_around * n_channels + LANES;
            if (depth > n_windows) n_windows = depth;
            if (n_image > self->n_image) self->n_image = n_image;
            if (layer->n_out * depth > largest) largest = layer->n_out * depth;
        }
        int is_norm = layer->kind == LAYER_NORM || layer->kind == BATCH_NORM;
        slot->x = x;
        if (NAME(has_output)(fleet->layers, l)) x = NAME(next_block)(self, most * padded);
        slot->y = x;
        if (is_norm || layer->kind == JOIN || layer->kind == POOL ||
            layer->kind == MEMBER_LINEAR || (layer->kind == ACTIVATION && layer->option != RELU))
            slot->saved = NAME(next_block)(self, most * padded);
        if (is_norm) slot->scale = NAME(next_block)(self, most + 2 * padded);
        if (most * padded > n_most) n_most = most * padded;
        int is_matrix = layer->kind == LINEAR || layer->kind == MEMBER_LINEAR;
        if (is_matrix && layer->n_out * row > largest) largest = layer->n_out * row;
        if (layer->kind == MEMBER_LINEAR && row > n_scaled) n_scaled = row;
        if (layer->kind == RECURRENCE) {
            int64_t size = GATES[layer->option] * padded * padded;
            slot->saved = NAME(next_block)(self, most * BLOCKS[layer->option] * padded);
            if (size < layer->n_out * row) size = layer->n_out * row;
            if (size > largest) largest = size;
        }
    }
    for (int64_t q = 0; q < fleet->n_parameters; q++) {
        self->offsets[q] = n;
        n += fleet->parameters[q].n_matrices * fleet->parameters[q].n_rows *
             NAME(padded)(fleet->parameters[q].n_columns);
    }
    self->offsets[fleet->n_parameters] = self->n_numbers = n;
    self->p = NAME(next_block)(self, n), self->g = NAME(next_block)(self, n);
    self->m = NAME(next_block)(self, n), self->v = NAME(next_block)(self, n);
    self->dy = NAME(next_block)(self, n_most), self->dx = NAME(next_block)(self, n_most);
    self->transposed = NAME(next_block)(self, largest),
    self->scaled = NAME(next_block)(self, fleet->most_samples * n_scaled);
    self->share = NAME(next_block)(self, fleet->most_samples);
    int64_t n_outputs = NAME(padded)(fleet->layers[fleet->n_layers - 1].n_out);
    self->combined = NAME(next_block)(self, fleet->most_samples * n_outputs);
    /* Vectors may be written past the last window. */
    self->windows = NAME(next_block)(self, LINE_CHUNK * n_windows + LANES);
    self->image = NAME(next_block)(self, self->n_image),
    self->d_image = NAME(next_block)(self, self->n_image);
}

static int NAME(reserve)(NAME(Worker) *self) {
    self->slots = calloc((size_t)self->fleet->n_layers, sizeof(NAME(Slot)));
    self->offsets = calloc((size_t)self->fleet->n_parameters + 1, sizeof(int64_t));
    self->lengths = calloc((size_t)self->fleet->most_samples, sizeof(int64_t));
    if (!self->slots || !self->offsets || !self->lengths) return 0;
    NAME(divide_memory)(self);
    self->block = calloc(self->n_bytes + ALIGNMENT, 1);
    if (!self->block) return 0;
    /* MinGW has no aligned_alloc. */
    self->aligned = self->block + (ALIGNMENT - (uintptr_t)self->block % ALIGNMENT);
    self->n_bytes = 0;
    NAME(divide_memory)(self);
    return 1;
}

static void NAME(release)(NAME(Worker) *self) {
    free(self->block), free(self->slots), free(self->offsets), free(self->lengths);
}
