/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Layers of signals, images and volumes, for one floating-point type.
 *
 * A line is a place of a sample with its padded channels, so that layers that work on lines treat
 * places as samples.  A table lists the input places in the window of each output place, whatever
 * the sizes, strides and paddings.  A convolution is a product of windows and weights (im2col).
 *
 * Notation: S places of a sample, C channels, P padded channels, k cells of a window, O output
 * channels.
 */

/* Windows in memory at a time. */
#define LINE_CHUNK 64
/* Longest run that memcpy copies: whole vectors would straddle cache lines. */
#define SHORT_RUN 4

/* The first convolution reads samples in torch's order, (C, S). */
static int NAME(is_planar)(const NAME(Worker) *self, const Layer *layer) {
    return layer == self->fleet->layers;
}

static int64_t NAME(n_channels)(const NAME(Worker) *self, const Layer *layer) {
    return NAME(is_planar)(self, layer) ? layer->n_in / layer->n_before : layer->n_in;
}

/* Samples (C, S) to lines. */
static void NAME(images)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n_places = layer->n_places, n_channels = layer->n_out;
    int64_t row = NAME(padded)(layer->n_in), padded = NAME(padded)(n_channels);
    self->n *= n_places;
    for (int64_t i = 0; i < self->n; i++)
        for (int64_t c = 0; c < n_channels; c++)
            slot->y[i * padded + c] =
                slot->x[i / n_places * row + c * n_places + i % n_places];
}

/* Lines to samples (C, S). */
static void NAME(flatten)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n_places = layer->n_before, n_channels = layer->n_in;
    int64_t row = NAME(padded)(n_channels), padded = NAME(padded)(layer->n_out);
    for (int64_t i = 0; i < self->n; i++) {
        REAL *y = slot->y + i / n_places * padded + i % n_places;
        for (int64_t c = 0; c < n_channels; c++) y[c * n_places] = slot->x[i * row + c];
    }
    self->n /= n_places;
}

static void NAME(flatten_backward)(NAME(Worker) *self, const Layer *layer) {
    int64_t n_places = layer->n_before, n_channels = layer->n_in;
    int64_t row = NAME(padded)(n_channels), padded = NAME(padded)(layer->n_out);
    self->n *= n_places;
    for (int64_t i = 0; i < self->n; i++) {
        const REAL *dy = self->dy + i / n_places * padded + i % n_places;
        for (int64_t c = 0; c < n_channels; c++) self->dx[i * row + c] = dy[c * n_places];
        NAME(clear_padding)(self->dx + i * row, 1, n_channels);
    }
    NAME(swap)(self);
}

/* Copy a sample into the zero-padded image, (places, C), without channel padding: neighbours in a
 * window are contiguous. */
static void NAME(copy_sample)(const NAME(Worker) *self, const Layer *layer, const REAL *x) {
    int64_t n_channels = NAME(n_channels)(self, layer), row = NAME(padded)(n_channels);
    int is_planar = NAME(is_planar)(self, layer);
    for (int64_t i = 0; i < layer->n_before; i++) {
        REAL *to = self->image + layer->inner[i] * n_channels;
        for (int64_t c = 0; c < n_channels && is_planar; c++)
            to[c] = x[c * layer->n_before + i];
        /* The next place overwrites the channel padding. */
        for (int64_t c = 0; c < n_channels && !is_planar; c += LANES)
            AT(to + c) = AT(x + i * row + c);
    }
}

/* Copy the windows of n output lines from `start` on, (n, k C), with stride `row`. */
static void NAME(copy_windows)(NAME(Worker) *self, const Layer *layer, const REAL *x,
                               int64_t start, int64_t n, int64_t row) {
    int64_t n_channels = NAME(n_channels)(self, layer), size = layer->n_run * n_channels;
    int64_t sample = layer->n_before * NAME(padded)(n_channels), place = start % layer->n_places;
    if (NAME(is_planar)(self, layer)) sample = NAME(padded)(layer->n_in);
    x += start / layer->n_places * sample;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *cells = layer->cells + place * layer->n_cells;
        REAL *to = self->windows + i * row;
        if (place == 0) NAME(copy_sample)(self, layer, x);
        /* The next run overwrites the numbers past this end. */
        for (int64_t k = 0; k < layer->n_cells; k++, to += size) {
            const REAL *from = self->image + cells[k] * n_channels;
            if (size <= SHORT_RUN) memcpy(to, from, SHORT_RUN * sizeof(REAL));
            for (int64_t c = 0; c < size && size > SHORT_RUN; c += LANES) AT(to + c) = AT(from + c);
        }
        if (++place == layer->n_places) place = 0, x += sample;
    }
}

static void NAME(convolution)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n_samples = NAME(is_planar)(self, layer) ? self->n : self->n / layer->n_before;
    int64_t depth = layer->n_cells * layer->n_run * NAME(n_channels)(self, layer);
    int64_t row = NAME(padded)(depth), padded = NAME(padded)(layer->n_out), n;
    self->n = n_samples * layer->n_places;
    memset(self->image, 0, (size_t)self->n_image * sizeof(REAL));
    for (int64_t start = 0; start < self->n; start += n) {
        n = self->n - start < LINE_CHUNK ? self->n - start : LINE_CHUNK;
        NAME(copy_windows)(self, layer, slot->x, start, n, row);
        NAME(product)(n, padded, depth, self->windows, row, 1, self->p + OFFSET(0), padded,
                      slot->y + start * padded, padded, self->p + OFFSET(1), 0);
    }
}

/* Transposed weights, (O, k P). */
static void NAME(transpose_weights)(const NAME(Worker) *self, const Layer *layer) {
    int64_t n_channels = layer->n_in, row = NAME(padded)(n_channels), n_out = layer->n_out;
    int64_t n_cells = layer->n_cells * layer->n_run;
    const REAL *w = self->p + OFFSET(0);
    memset(self->transposed, 0, (size_t)(n_out * n_cells * row) * sizeof(REAL));
    for (int64_t k = 0; k < n_cells; k++)
        for (int64_t c = 0; c < n_channels; c++, w += NAME(padded)(n_out))
            for (int64_t o = 0; o < n_out; o++)
                self->transposed[(o * n_cells + k) * row + c] = w[o];
}

/* Add the gradients by windows, (n, k P), to those by their places, collected in `d_image` until the
 * last window of a sample. */
static void NAME(add_windows)(const NAME(Worker) *self, const Layer *layer, int64_t start,
                              int64_t n) {
    int64_t padded = NAME(padded)(layer->n_in), size = layer->n_run * padded;
    int64_t sample = layer->n_before * padded, place = start % layer->n_places;
    const REAL *from = self->windows;
    REAL *to = self->dx + start / layer->n_places * sample;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *cells = layer->cells + place * layer->n_cells;
        for (int64_t k = 0; k < layer->n_cells; k++, from += size)
            for (int64_t c = 0; c < size; c += LANES)
                AT(self->d_image + cells[k] * padded + c) += AT(from + c);
        if (++place < layer->n_places) continue;
        for (int64_t j = 0; j < layer->n_before; j++)
            memcpy(to + j * padded, self->d_image + layer->inner[j] * padded,
                   (size_t)padded * sizeof(REAL));
        memset(self->d_image, 0, (size_t)self->n_image * sizeof(REAL));
        place = 0, to += sample;
    }
}

static void NAME(convolution_backward)(NAME(Worker) *self, const Layer *layer,
                                       const NAME(Slot) *slot, int is_first) {
    int64_t n_cells = layer->n_cells * layer->n_run, n;
    int64_t depth = n_cells * NAME(n_channels)(self, layer), row = NAME(padded)(depth);
    int64_t transposed_row = n_cells * NAME(padded)(layer->n_in),
            padded = NAME(padded)(layer->n_out);
    REAL *d_weight = self->g + OFFSET(0), *bias = self->g + OFFSET(1);
    if (!is_first) NAME(transpose_weights)(self, layer);
    memset(self->image, 0, (size_t)self->n_image * sizeof(REAL));
    memset(self->d_image, 0, (size_t)self->n_image * sizeof(REAL));
    if (NAME(has_bias)(self, layer)) memset(bias, 0, (size_t)padded * sizeof(REAL));
    for (int64_t start = 0; start < self->n; start += n) {
        const REAL *dy = self->dy + start * padded;
        n = self->n - start < LINE_CHUNK ? self->n - start : LINE_CHUNK;
        /* Copied again: the windows of the forward pass would have left the cache. */
        NAME(copy_windows)(self, layer, slot->x, start, n, row);
        NAME(product)(depth, padded, n, self->windows, 1, row, dy, padded, d_weight, padded,
                      start ? d_weight : NULL, padded);
        for (int64_t i = 0; i < n && NAME(has_bias)(self, layer); i++)
            for (int64_t j = 0; j < padded; j++) bias[j] += dy[i * padded + j];
        if (is_first) continue;
        NAME(product)(n, transposed_row, layer->n_out, dy, padded, 1, self->transposed,
                      transposed_row, self->windows, transposed_row, NULL, 0);
        NAME(add_windows)(self, layer, start, n);
    }
    if (is_first) return;
    self->n = self->n / layer->n_places * layer->n_before;
    NAME(swap)(self);
}

/* The mean of each window if there are counts, otherwise its maximum (the first of equal numbers;
 * NaN if there is one), with its cell saved. */
static void NAME(pool)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t padded = NAME(padded)(layer->n_out), n_cells = layer->n_cells;
    int64_t n_samples = self->n / layer->n_before, place = 0;
    const REAL *x = slot->x;
    self->n = n_samples * layer->n_places;
    for (int64_t i = 0; i < self->n * padded; i += padded) {
        const int32_t *cells = layer->cells + place * n_cells;
        for (int64_t c = 0; c < padded; c += LANES) {
            V result = {0}, cell = {0};
            int64_t k = 0;
            for (; k < n_cells && layer->counts; k++)
                if (cells[k] >= 0) result += AT(x + cells[k] * padded + c);
            if (layer->counts) {
                AT(slot->y + i + c) = result / (REAL)layer->counts[place];
                continue;
            }
            while (cells[k] < 0) k++;
            result = AT(x + cells[k] * padded + c), cell += (REAL)k;
            for (k++; k < n_cells; k++) {
                if (cells[k] < 0) continue;
                V other = AT(x + cells[k] * padded + c);
                I is_more = (other > result) | (other != other);
                result = NAME(select)(is_more, other, result);
                cell = NAME(select)(is_more, (V){0} + (REAL)k, cell);
            }
            AT(slot->y + i + c) = result;
            AT(slot->saved + i + c) = cell;
        }
        if (++place == layer->n_places) place = 0, x += layer->n_before * padded;
    }
}

static void NAME(pool_backward)(NAME(Worker) *self, const Layer *layer, const NAME(Slot) *slot) {
    int64_t padded = NAME(padded)(layer->n_out), n_cells = layer->n_cells;
    int64_t size = self->n * padded, place = 0;
    REAL *dx = self->dx;
    self->n = self->n / layer->n_places * layer->n_before;
    memset(dx, 0, (size_t)(self->n * padded) * sizeof(REAL));
    for (int64_t i = 0; i < size; i += padded) {
        const int32_t *cells = layer->cells + place * n_cells;
        REAL count = layer->counts ? (REAL)layer->counts[place] : 1;
        for (int64_t c = 0; c < padded; c += LANES) {
            V dy = AT(self->dy + i + c) / count, cell = AT(slot->saved + i + c);
            for (int64_t k = 0; k < n_cells; k++) {
                if (cells[k] < 0) continue;
                V part = layer->counts ? dy : NAME(select)(cell == (REAL)k, dy, (V){0});
                AT(dx + cells[k] * padded + c) += part;
            }
        }
        if (++place == layer->n_places) place = 0, dx += layer->n_before * padded;
    }
    NAME(swap)(self);
}
