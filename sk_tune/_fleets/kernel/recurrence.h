/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Recurrent layers with torch's equations, for one floating-point type.
 *
 * Between STEPS and LAST each step of a sample is a line: line t n + i is step t of sample i, so
 * that the data of a step are contiguous.
 *
 * A recurrence saves blocks of P numbers for each line.  GRU: gates r and z, the state's part of n
 * before its product with r, then n.  LSTM: gates i, f, g, o, then the cell and its tanh.  Others:
 * their only gate.  The backward pass overwrites them with derivatives.  States past the end of a
 * sample are 0.  Parameters, a matrix for each gate: of the inputs, of the state, then both biases.
 */

/* Block of a gate's input part; a GRU's n keeps it apart from the state's part. */
static int64_t NAME(input_block)(const Layer *layer, int64_t gate) {
    return layer->option == GRU && gate == 2 ? 3 : gate;
}

/* The first number of a padding step is NaN. */
static void NAME(steps)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n = self->n, size = layer->n_out, row = NAME(padded)(layer->n_in);
    for (int64_t i = 0; i < n; i++) {
        self->lengths[i] = 0;
        for (int64_t t = 0; t < layer->n_lines; t++) {
            const REAL *x = slot->x + i * row + t * size;
            REAL *y = slot->y + (t * n + i) * NAME(padded)(size);
            int is_step = !isnan(*x);
            self->lengths[i] += is_step;
            for (int64_t j = 0; j < size; j++) y[j] = is_step ? x[j] : 0;
        }
    }
    self->n *= layer->n_lines;
}

/* Line of the last step of a sample. */
static int64_t NAME(last_line)(const NAME(Worker) *self, int64_t n, int64_t i) {
    return (self->lengths[i] > 0 ? self->lengths[i] - 1 : 0) * n + i;
}

static void NAME(last)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n = self->n /= layer->n_lines, padded = NAME(padded)(layer->n_out);
    for (int64_t i = 0; i < n; i++)
        memcpy(slot->y + i * padded, slot->x + NAME(last_line)(self, n, i) * padded,
               (size_t)padded * sizeof(REAL));
}

static void NAME(last_backward)(NAME(Worker) *self, const Layer *layer) {
    int64_t n = self->n, padded = NAME(padded)(layer->n_out);
    self->n *= layer->n_lines;
    memset(self->dx, 0, (size_t)(self->n * padded) * sizeof(REAL));
    for (int64_t i = 0; i < n; i++)
        memcpy(self->dx + NAME(last_line)(self, n, i) * padded, self->dy + i * padded,
               (size_t)padded * sizeof(REAL));
    NAME(swap)(self);
}

/* One state of one sample, (P): `a` are its blocks, `old` is the previous state, NULL for 0. */
static void NAME(cell_forward)(const Layer *layer, int64_t padded, int64_t a_step, const REAL *bias,
                               REAL *a, const REAL *old, REAL *y) {
    V unused;
#define GATE(function_, k) \
    NAME(function)(function_, AT(a + (k) * padded) + AT(bias + (k) * padded), 0, &unused)
    for (int64_t j = 0; j < padded; j += LANES, a += LANES, bias += LANES) {
        if (layer->option == GRU) {
            V r = GATE(LOGISTIC, 0), z = GATE(LOGISTIC, 1), h = old ? (V)AT(old + j) : (V){0};
            V sum = AT(a + 3 * padded) + r * AT(a + 2 * padded);
            V new = NAME(function)(TANH, sum, 0, &unused);
            AT(a) = r, AT(a + padded) = z, AT(a + 3 * padded) = new;
            AT(y + j) = new + z * (h - new);
        } else if (layer->option == LSTM) {
            V i = GATE(LOGISTIC, 0), f = GATE(LOGISTIC, 1), g = GATE(TANH, 2);
            V o = GATE(LOGISTIC, 3), c = old ? (V)AT(a - a_step + 4 * padded) : (V){0};
            c = f * c + i * g;
            V size = NAME(function)(TANH, c, 0, &unused);
            AT(a) = i, AT(a + padded) = f, AT(a + 2 * padded) = g, AT(a + 3 * padded) = o;
            AT(a + 4 * padded) = c, AT(a + 5 * padded) = size;
            AT(y + j) = o * size;
        } else if (layer->option == RNN_TANH) {
            AT(y + j) = GATE(TANH, 0);
        } else {
            AT(y + j) = GATE(LEAKY_RELU, 0);
        }
    }
#undef GATE
}

static void NAME(recurrence)(const NAME(Worker) *self, const Layer *layer,
                             const NAME(Slot) *slot) {
    int64_t n = self->n / layer->n_lines, n_in = layer->n_in, n_units = layer->n_out;
    int64_t padded = NAME(padded)(n_units), n_gates = GATES[layer->option];
    int64_t row = BLOCKS[layer->option] * padded;
    const REAL *state_bias = self->p + OFFSET(3);
    for (int64_t k = 0; k < n_gates; k++)
        NAME(product)(self->n, padded, n_in, slot->x, NAME(padded)(n_in), 1,
                      self->p + OFFSET(0) + k * n_in * padded, padded,
                      slot->saved + NAME(input_block)(layer, k) * padded, row,
                      self->p + OFFSET(2) + k * padded, 0);
    for (int64_t t = 0; t < layer->n_lines; t++) {
        REAL *a = slot->saved + t * n * row, *y = slot->y + t * n * padded;
        const REAL *old = t ? y - n * padded : NULL;
        for (int64_t k = 0; k < n_gates; k++) {
            int is_apart = NAME(input_block)(layer, k) != k;
            NAME(product)(n, padded, t ? n_units : 0, old, padded, 1,
                          self->p + OFFSET(1) + k * n_units * padded, padded, a + k * padded, row,
                          is_apart ? state_bias + k * padded : a + k * padded, is_apart ? 0 : row);
        }
        for (int64_t i = 0; i < n; i++) {
            NAME(cell_forward)(layer, padded, n * row, state_bias, a + i * row,
                               old ? old + i * padded : NULL, y + i * padded);
            if (t >= self->lengths[i]) memset(y + i * padded, 0, (size_t)padded * sizeof(REAL));
        }
    }
}

/* Gradients by the gates, from the gradient `dh_` by a state.  `d_old`, by the previous state,
 * holds the part from the next step, and receives the part that bypasses the gates. */
static void NAME(cell_backward)(const Layer *layer, int64_t padded, int64_t a_step, int is_last,
                                REAL *a, const REAL *old, const REAL *y, const REAL *dh_,
                                REAL *d_old) {
    for (int64_t j = 0; j < padded; j += LANES, a += LANES) {
        V dh = AT(dh_ + j) + (is_last ? (V){0} : (V)AT(d_old + j));
        V h = old ? (V)AT(old + j) : (V){0};
        if (layer->option == GRU) {
            V r = AT(a), z = AT(a + padded), new = AT(a + 3 * padded);
            V d = dh * (1 - z) * (1 - new * new);
            AT(a) = d * AT(a + 2 * padded) * r * (1 - r);
            AT(a + padded) = dh * (h - new) * z * (1 - z);
            AT(a + 2 * padded) = d * r;
            AT(a + 3 * padded) = d;
            AT(d_old + j) = dh * z;
        } else if (layer->option == LSTM) {
            V i = AT(a), f = AT(a + padded), g = AT(a + 2 * padded), o = AT(a + 3 * padded);
            V size = AT(a + 5 * padded), c = old ? (V)AT(a - a_step + 4 * padded) : (V){0};
            V d = dh * o * (1 - size * size);
            if (!is_last) d += AT(a + a_step + 4 * padded);
            AT(a) = d * g * i * (1 - i);
            AT(a + padded) = d * c * f * (1 - f);
            AT(a + 2 * padded) = d * i * (1 - g * g);
            AT(a + 3 * padded) = dh * size * o * (1 - o);
            /* By the previous cell, which reads it from this block. */
            AT(a + 4 * padded) = d * f;
        } else if (layer->option == RNN_TANH) {
            AT(a) = dh * (1 - AT(y + j) * AT(y + j));
        } else {
            AT(a) = NAME(select)(AT(y + j) > 0, dh, (V){0});
        }
    }
}

static void NAME(recurrence_backward)(NAME(Worker) *self, const Layer *layer,
                                      const NAME(Slot) *slot, int is_first) {
    int64_t n = self->n / layer->n_lines, n_in = layer->n_in, n_units = layer->n_out;
    int64_t padded = NAME(padded)(n_units), n_gates = GATES[layer->option];
    int64_t row = BLOCKS[layer->option] * padded, in_row = NAME(padded)(n_in);
    REAL *d_old = self->dx;
    /* The transposed matrices of all gates follow one another, as their blocks do. */
    memset(self->transposed, 0, (size_t)(n_gates * padded * padded) * sizeof(REAL));
    for (int64_t k = 0; k < n_gates; k++)
        NAME(transpose)(self->p + OFFSET(1) + k * n_units * padded, n_units, n_units,
                        self->transposed + k * padded * padded);
    for (int64_t t = layer->n_lines - 1; t >= 0; t--) {
        REAL *a = slot->saved + t * n * row, *y = slot->y + t * n * padded;
        for (int64_t i = 0; i < n; i++) {
            if (t >= self->lengths[i]) {
                memset(a + i * row, 0, (size_t)row * sizeof(REAL));
                memset(d_old + i * padded, 0, (size_t)padded * sizeof(REAL));
                continue;
            }
            NAME(cell_backward)(layer, padded, n * row, t == layer->n_lines - 1, a + i * row,
                                t ? y + (i - n) * padded : NULL, y + i * padded,
                                self->dy + (t * n + i) * padded, d_old + i * padded);
        }
        if (t)
            NAME(product)(n, padded, n_gates * padded, a, row, 1, self->transposed, padded, d_old,
                          padded, layer->option == GRU ? d_old : NULL, padded);
    }
    for (int64_t k = 0; k < n_gates; k++) {
        const REAL *d_state = slot->saved + k * padded;
        const REAL *d_input = slot->saved + NAME(input_block)(layer, k) * padded;
        NAME(weight_gradient)(n_in, padded, self->n, slot->x, in_row, d_input, row,
                              self->g + OFFSET(0) + k * n_in * padded, 0);
        NAME(weight_gradient)(n_units, padded, self->n - n, slot->y, padded, d_state + n * row, row,
                              self->g + OFFSET(1) + k * n_units * padded, 0);
        NAME(sum_lines)(self->n, padded, d_input, row, self->g + OFFSET(2) + k * padded);
        NAME(sum_lines)(self->n, padded, d_state, row, self->g + OFFSET(3) + k * padded);
    }
    if (is_first) return;
    for (int64_t k = 0; k < n_gates; k++) {
        NAME(transpose)(self->p + OFFSET(0) + k * n_in * padded, n_in, n_units, self->transposed);
        NAME(product)(self->n, in_row, n_units, slot->saved + NAME(input_block)(layer, k) * padded,
                      row, 1, self->transposed, in_row, self->dx, in_row, k ? self->dx : NULL,
                      in_row);
    }
    NAME(swap)(self);
}
