/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Recurrent layers, equation for equation those of torch; for numbers of one kind.
 *
 * Between STEPS and LAST each step of a sample is a line: line t n + i is step t of sample i, so
 * that what one step reads and writes is contiguous.
 *
 * A recurrence keeps some blocks of P numbers for each line.  GRU: gates r and z, the state's part
 * of n before it is multiplied by r, then n.  LSTM: gates i, f, g, o, then the cell and its tanh.
 * Others: their only gate.  Derivatives are written over them.  Where a sample has ended, its
 * states are 0.  Parameters, a matrix for each
 * gate: of the inputs, of the state, then the biases of both.
 */

/* Where a gate's part of the inputs is: n of a GRU is behind the part of the state. */
static int64_t NAME(input_block)(const Layer *layer, int64_t gate) {
    return layer->option == GRU && gate == 2 ? 3 : gate;
}

/* A step that is padding has NaN in its first number. */
static void NAME(steps)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n = own->n, size = layer->n_out, row = NAME(whole)(layer->n_in);
    for (int64_t i = 0; i < n; i++) {
        own->lengths[i] = 0;
        for (int64_t t = 0; t < layer->n_lines; t++) {
            const REAL *x = slot->x + i * row + t * size;
            REAL *y = slot->y + (t * n + i) * NAME(whole)(size);
            int is_step = !isnan(*x);
            own->lengths[i] += is_step;
            for (int64_t j = 0; j < size; j++) y[j] = is_step ? x[j] : 0;
        }
    }
    own->n *= layer->n_lines;
}

/* The line of the last step of a sample. */
static int64_t NAME(end)(const NAME(Worker) *own, int64_t n, int64_t i) {
    return (own->lengths[i] > 0 ? own->lengths[i] - 1 : 0) * n + i;
}

static void NAME(last)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n = own->n /= layer->n_lines, padded = NAME(whole)(layer->n_out);
    for (int64_t i = 0; i < n; i++)
        memcpy(slot->y + i * padded, slot->x + NAME(end)(own, n, i) * padded,
               (size_t)padded * sizeof(REAL));
}

static void NAME(last_backward)(NAME(Worker) *own, const Layer *layer) {
    int64_t n = own->n, padded = NAME(whole)(layer->n_out);
    own->n *= layer->n_lines;
    memset(own->dx, 0, (size_t)(own->n * padded) * sizeof(REAL));
    for (int64_t i = 0; i < n; i++)
        memcpy(own->dx + NAME(end)(own, n, i) * padded, own->dy + i * padded,
               (size_t)padded * sizeof(REAL));
    NAME(swap)(own);
}

/* One state of one sample, (P): `a` are its blocks, `old` is the state before it, NULL for 0. */
static void NAME(state)(const Layer *layer, int64_t padded, int64_t a_step, const REAL *bias,
                        REAL *a, const REAL *old, REAL *y) {
    V unread;
#define GATE(function_, k) NAME(function)(function_, AT(a + (k) * padded) + AT(bias + (k) * padded), 0, &unread)
    for (int64_t j = 0; j < padded; j += LANES, a += LANES, bias += LANES) {
        if (layer->option == GRU) {
            V r = GATE(LOGISTIC, 0), z = GATE(LOGISTIC, 1), h = old ? (V)AT(old + j) : (V){0};
            V sum = AT(a + 3 * padded) + r * AT(a + 2 * padded);
            V new = NAME(function)(TANH, sum, 0, &unread);
            AT(a) = r, AT(a + padded) = z, AT(a + 3 * padded) = new;
            AT(y + j) = new + z * (h - new);
        } else if (layer->option == LSTM) {
            V i = GATE(LOGISTIC, 0), f = GATE(LOGISTIC, 1), g = GATE(TANH, 2);
            V o = GATE(LOGISTIC, 3), c = old ? (V)AT(a - a_step + 4 * padded) : (V){0};
            c = f * c + i * g;
            V size = NAME(function)(TANH, c, 0, &unread);
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

static void NAME(recurrence)(const NAME(Worker) *own, const Layer *layer,
                             const NAME(Slot) *slot) {
    int64_t n = own->n / layer->n_lines, n_in = layer->n_in, n_units = layer->n_out;
    int64_t padded = NAME(whole)(n_units), n_gates = GATES[layer->option];
    int64_t row = BLOCKS[layer->option] * padded;
    const REAL *state_bias = own->p + PLACE(3);
    for (int64_t k = 0; k < n_gates; k++)
        NAME(product)(own->n, padded, n_in, slot->x, NAME(whole)(n_in), 1,
                      own->p + PLACE(0) + k * n_in * padded, padded,
                      slot->kept + NAME(input_block)(layer, k) * padded, row,
                      own->p + PLACE(2) + k * padded, 0);
    for (int64_t t = 0; t < layer->n_lines; t++) {
        REAL *a = slot->kept + t * n * row, *y = slot->y + t * n * padded;
        const REAL *old = t ? y - n * padded : NULL;
        for (int64_t k = 0; k < n_gates; k++) {
            int is_apart = NAME(input_block)(layer, k) != k;
            NAME(product)(n, padded, t ? n_units : 0, old, padded, 1,
                          own->p + PLACE(1) + k * n_units * padded, padded, a + k * padded, row,
                          is_apart ? state_bias + k * padded : a + k * padded,
                          is_apart ? 0 : row);
        }
        for (int64_t i = 0; i < n; i++) {
            NAME(state)(layer, padded, n * row, state_bias, a + i * row,
                        old ? old + i * padded : NULL, y + i * padded);
            if (t >= own->lengths[i]) memset(y + i * padded, 0, (size_t)padded * sizeof(REAL));
        }
    }
}

/* From the derivatives by a state, `dh`, to those by its gates; `by_old`, of the state before it,
 * has what comes from the step behind it, and gets what does not go through the gates. */
static void NAME(state_backward)(const Layer *layer, int64_t padded, int64_t a_step, int is_last,
                                 REAL *a, const REAL *old, const REAL *y, const REAL *dh_,
                                 REAL *by_old) {
    for (int64_t j = 0; j < padded; j += LANES, a += LANES) {
        V dh = AT(dh_ + j) + (is_last ? (V){0} : (V)AT(by_old + j));
        V h = old ? (V)AT(old + j) : (V){0};
        if (layer->option == GRU) {
            V r = AT(a), z = AT(a + padded), new = AT(a + 3 * padded);
            V d = dh * (1 - z) * (1 - new * new);
            AT(a) = d * AT(a + 2 * padded) * r * (1 - r);
            AT(a + padded) = dh * (h - new) * z * (1 - z);
            AT(a + 2 * padded) = d * r;
            AT(a + 3 * padded) = d;
            AT(by_old + j) = dh * z;
        } else if (layer->option == LSTM) {
            V i = AT(a), f = AT(a + padded), g = AT(a + 2 * padded), o = AT(a + 3 * padded);
            V size = AT(a + 5 * padded), c = old ? (V)AT(a - a_step + 4 * padded) : (V){0};
            V d = dh * o * (1 - size * size);
            if (!is_last) d += AT(a + a_step + 4 * padded);
            AT(a) = d * g * i * (1 - i);
            AT(a + padded) = d * c * f * (1 - f);
            AT(a + 2 * padded) = d * i * (1 - g * g);
            AT(a + 3 * padded) = dh * size * o * (1 - o);
            /* Of the cell before this one, which reads it there. */
            AT(a + 4 * padded) = d * f;
        } else if (layer->option == RNN_TANH) {
            AT(a) = dh * (1 - AT(y + j) * AT(y + j));
        } else {
            AT(a) = NAME(select)(AT(y + j) > 0, dh, (V){0});
        }
    }
}

static void NAME(recurrence_backward)(NAME(Worker) *own, const Layer *layer,
                                      const NAME(Slot) *slot, int is_first) {
    int64_t n = own->n / layer->n_lines, n_in = layer->n_in, n_units = layer->n_out;
    int64_t padded = NAME(whole)(n_units), n_gates = GATES[layer->option];
    int64_t row = BLOCKS[layer->option] * padded, in_row = NAME(whole)(n_in);
    REAL *by_old = own->dx;
    /* The lines of all gates follow each other, as their blocks do. */
    memset(own->turned, 0, (size_t)(n_gates * padded * padded) * sizeof(REAL));
    for (int64_t k = 0; k < n_gates; k++)
        NAME(turn)(own->p + PLACE(1) + k * n_units * padded, n_units, n_units,
                   own->turned + k * padded * padded);
    for (int64_t t = layer->n_lines - 1; t >= 0; t--) {
        REAL *a = slot->kept + t * n * row, *y = slot->y + t * n * padded;
        for (int64_t i = 0; i < n; i++) {
            if (t >= own->lengths[i]) {
                memset(a + i * row, 0, (size_t)row * sizeof(REAL));
                memset(by_old + i * padded, 0, (size_t)padded * sizeof(REAL));
                continue;
            }
            NAME(state_backward)(layer, padded, n * row, t == layer->n_lines - 1, a + i * row,
                                 t ? y + (i - n) * padded : NULL, y + i * padded,
                                 own->dy + (t * n + i) * padded, by_old + i * padded);
        }
        if (t)
            NAME(product)(n, padded, n_gates * padded, a, row, 1, own->turned, padded, by_old,
                          padded, layer->option == GRU ? by_old : NULL, padded);
    }
    for (int64_t k = 0; k < n_gates; k++) {
        const REAL *by_state = slot->kept + k * padded;
        const REAL *by_input = slot->kept + NAME(input_block)(layer, k) * padded;
        NAME(outer)(n_in, padded, own->n, slot->x, in_row, by_input, row,
                    own->g + PLACE(0) + k * n_in * padded);
        NAME(outer)(n_units, padded, own->n - n, slot->y, padded, by_state + n * row, row,
                    own->g + PLACE(1) + k * n_units * padded);
        NAME(sum_lines)(own->n, padded, by_input, row, own->g + PLACE(2) + k * padded);
        NAME(sum_lines)(own->n, padded, by_state, row, own->g + PLACE(3) + k * padded);
    }
    if (is_first) return;
    for (int64_t k = 0; k < n_gates; k++) {
        NAME(turn)(own->p + PLACE(0) + k * n_in * padded, n_in, n_units, own->turned);
        NAME(product)(own->n, in_row, n_units,
                      slot->kept + NAME(input_block)(layer, k) * padded, row, 1, own->turned,
                      in_row, own->dx, in_row, k ? own->dx : NULL, in_row);
    }
    NAME(swap)(own);
}
