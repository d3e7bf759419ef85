/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Layers of signals, images and volumes, for numbers of one kind.
 *
 * A line is a place of a sample, with its channels padded to whole vectors; so layers that work
 * on lines take places for samples.  Which places of the input are in the window of a place of the
 * output is a table of the layer's, whatever its sizes, strides and paddings are.  A convolution
 * is a product of windows that lie side by side and weights (im2col).
 *
 * Notation: S places of a sample, C channels, P of them with padding, k cells of a window, O
 * channels of the output.
 */

/* Lines whose windows are in memory at a time. */
#define LINES_AT_ONCE 64
/* A run of so few numbers is copied as such: whole vectors would lie across lines of the cache. */
#define SHORT_RUN 4

/* A convolution that comes first reads samples in torch's order, (C, S). */
static int NAME(is_planar)(const NAME(Worker) *own, const Layer *layer) {
    return layer == own->plan->layers;
}

static int64_t NAME(n_channels)(const NAME(Worker) *own, const Layer *layer) {
    return NAME(is_planar)(own, layer) ? layer->n_in / layer->n_before : layer->n_in;
}

/* Samples (C, S) to their lines. */
static void NAME(images)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n_places = layer->n_places, n_channels = layer->n_out;
    int64_t row = NAME(whole)(layer->n_in), padded = NAME(whole)(n_channels);
    own->n *= n_places;
    for (int64_t i = 0; i < own->n; i++)
        for (int64_t c = 0; c < n_channels; c++)
            slot->y[i * padded + c] =
                slot->x[i / n_places * row + c * n_places + i % n_places];
}

/* Lines to samples (C, S). */
static void NAME(flatten)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n_places = layer->n_before, n_channels = layer->n_in;
    int64_t row = NAME(whole)(n_channels), padded = NAME(whole)(layer->n_out);
    for (int64_t i = 0; i < own->n; i++) {
        REAL *y = slot->y + i / n_places * padded + i % n_places;
        for (int64_t c = 0; c < n_channels; c++) y[c * n_places] = slot->x[i * row + c];
    }
    own->n /= n_places;
}

static void NAME(flatten_backward)(NAME(Worker) *own, const Layer *layer) {
    int64_t n_places = layer->n_before, n_channels = layer->n_in;
    int64_t row = NAME(whole)(n_channels), padded = NAME(whole)(layer->n_out);
    own->n *= n_places;
    for (int64_t i = 0; i < own->n; i++) {
        const REAL *dy = own->dy + i / n_places * padded + i % n_places;
        for (int64_t c = 0; c < n_channels; c++) own->dx[i * row + c] = dy[c * n_places];
        NAME(clear_padding)(own->dx + i * row, 1, n_channels);
    }
    NAME(swap)(own);
}

/* Copy a sample into the image, around which there are zeros: (places, C), without padding, so
 * that neighbours in a window are one run of numbers. */
static void NAME(copy_sample)(const NAME(Worker) *own, const Layer *layer, const REAL *x) {
    int64_t n_channels = NAME(n_channels)(own, layer), row = NAME(whole)(n_channels);
    int is_planar = NAME(is_planar)(own, layer);
    for (int64_t i = 0; i < layer->n_before; i++) {
        REAL *to = own->image + layer->inner[i] * n_channels;
        for (int64_t c = 0; c < n_channels && is_planar; c++)
            to[c] = x[c * layer->n_before + i];
        /* Of a place's padding, 0, the next place writes over what it needs. */
        for (int64_t c = 0; c < n_channels && !is_planar; c += LANES)
            AT(to + c) = AT(x + i * row + c);
    }
}

/* Copy the windows of n lines of the output, (n, k C), with `row` numbers between two of them,
 * from a line on, `n_channels` for each cell. */
static void NAME(copy_windows)(NAME(Worker) *own, const Layer *layer, const REAL *x,
                               int64_t start, int64_t n, int64_t row) {
    int64_t n_channels = NAME(n_channels)(own, layer), size = layer->n_run * n_channels;
    int64_t sample = layer->n_before * NAME(whole)(n_channels), place = start % layer->n_places;
    if (NAME(is_planar)(own, layer)) sample = NAME(whole)(layer->n_in);
    x += start / layer->n_places * sample;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *cells = layer->cells + place * layer->n_cells;
        REAL *to = own->windows + i * row;
        if (place == 0) NAME(copy_sample)(own, layer, x);
        /* What is written beyond a run, the next one writes over. */
        for (int64_t k = 0; k < layer->n_cells; k++, to += size) {
            const REAL *from = own->image + cells[k] * n_channels;
            if (size <= SHORT_RUN) memcpy(to, from, SHORT_RUN * sizeof(REAL));
            for (int64_t c = 0; c < size && size > SHORT_RUN; c += LANES) AT(to + c) = AT(from + c);
        }
        if (++place == layer->n_places) place = 0, x += sample;
    }
}

static void NAME(convolution)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t n_samples = NAME(is_planar)(own, layer) ? own->n : own->n / layer->n_before;
    int64_t depth = layer->n_cells * layer->n_run * NAME(n_channels)(own, layer);
    int64_t row = NAME(whole)(depth), padded = NAME(whole)(layer->n_out), n;
    own->n = n_samples * layer->n_places;
    memset(own->image, 0, (size_t)own->n_image * sizeof(REAL));
    for (int64_t start = 0; start < own->n; start += n) {
        n = own->n - start < LINES_AT_ONCE ? own->n - start : LINES_AT_ONCE;
        NAME(copy_windows)(own, layer, slot->x, start, n, row);
        NAME(product)(n, padded, depth, own->windows, row, 1, own->p + PLACE(0), padded,
                      slot->y + start * padded, padded, own->p + PLACE(1), 0);
    }
}

/* The weights the other way round, (O, k P). */
static void NAME(turn_weights)(const NAME(Worker) *own, const Layer *layer) {
    int64_t n_channels = layer->n_in, row = NAME(whole)(n_channels), n_out = layer->n_out;
    int64_t n_cells = layer->n_cells * layer->n_run;
    const REAL *w = own->p + PLACE(0);
    memset(own->turned, 0, (size_t)(n_out * n_cells * row) * sizeof(REAL));
    for (int64_t k = 0; k < n_cells; k++)
        for (int64_t c = 0; c < n_channels; c++, w += NAME(whole)(n_out))
            for (int64_t o = 0; o < n_out; o++)
                own->turned[(o * n_cells + k) * row + c] = w[o];
}

/* Add windows' derivatives, (n, k P), to those of the places that are in them, which are added to
 * in another image until all windows of the sample are. */
static void NAME(add_windows)(const NAME(Worker) *own, const Layer *layer, int64_t start,
                              int64_t n) {
    int64_t padded = NAME(whole)(layer->n_in), size = layer->n_run * padded;
    int64_t sample = layer->n_before * padded, place = start % layer->n_places;
    const REAL *from = own->windows;
    REAL *to = own->dx + start / layer->n_places * sample;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *cells = layer->cells + place * layer->n_cells;
        for (int64_t k = 0; k < layer->n_cells; k++, from += size)
            for (int64_t c = 0; c < size; c += LANES)
                AT(own->by_image + cells[k] * padded + c) += AT(from + c);
        if (++place < layer->n_places) continue;
        for (int64_t j = 0; j < layer->n_before; j++)
            memcpy(to + j * padded, own->by_image + layer->inner[j] * padded,
                   (size_t)padded * sizeof(REAL));
        memset(own->by_image, 0, (size_t)own->n_image * sizeof(REAL));
        place = 0, to += sample;
    }
}

static void NAME(convolution_backward)(NAME(Worker) *own, const Layer *layer,
                                       const NAME(Slot) *slot, int is_first) {
    int64_t n_cells = layer->n_cells * layer->n_run, n;
    int64_t depth = n_cells * NAME(n_channels)(own, layer), row = NAME(whole)(depth);
    int64_t turned_row = n_cells * NAME(whole)(layer->n_in), padded = NAME(whole)(layer->n_out);
    REAL *by_weight = own->g + PLACE(0), *bias = own->g + PLACE(1);
    if (!is_first) NAME(turn_weights)(own, layer);
    memset(own->image, 0, (size_t)own->n_image * sizeof(REAL));
    memset(own->by_image, 0, (size_t)own->n_image * sizeof(REAL));
    if (NAME(has_bias)(own, layer)) memset(bias, 0, (size_t)padded * sizeof(REAL));
    for (int64_t start = 0; start < own->n; start += n) {
        const REAL *dy = own->dy + start * padded;
        n = own->n - start < LINES_AT_ONCE ? own->n - start : LINES_AT_ONCE;
        /* They are made again: so many would have left the cache. */
        NAME(copy_windows)(own, layer, slot->x, start, n, row);
        NAME(product)(depth, padded, n, own->windows, 1, row, dy, padded, by_weight, padded,
                      start ? by_weight : NULL, padded);
        for (int64_t i = 0; i < n && NAME(has_bias)(own, layer); i++)
            for (int64_t j = 0; j < padded; j++) bias[j] += dy[i * padded + j];
        if (is_first) continue;
        NAME(product)(n, turned_row, layer->n_out, dy, padded, 1, own->turned, turned_row,
                      own->windows, turned_row, NULL, 0);
        NAME(add_windows)(own, layer, start, n);
    }
    if (is_first) return;
    own->n = own->n / layer->n_places * layer->n_before;
    NAME(swap)(own);
}

/* The mean of each window, if there are counts to divide by, or its maximum: of equal numbers
 * the first, and NaN if there is one; which cell it is in is kept. */
static void NAME(pool)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t padded = NAME(whole)(layer->n_out), n_cells = layer->n_cells;
    int64_t n_samples = own->n / layer->n_before, place = 0;
    const REAL *x = slot->x;
    own->n = n_samples * layer->n_places;
    for (int64_t i = 0; i < own->n * padded; i += padded) {
        const int32_t *cells = layer->cells + place * n_cells;
        for (int64_t c = 0; c < padded; c += LANES) {
            V found = {0}, cell = {0};
            int64_t k = 0;
            for (; k < n_cells && layer->counts; k++)
                if (cells[k] >= 0) found += AT(x + cells[k] * padded + c);
            if (layer->counts) {
                AT(slot->y + i + c) = found / (REAL)layer->counts[place];
                continue;
            }
            while (cells[k] < 0) k++;
            found = AT(x + cells[k] * padded + c), cell += (REAL)k;
            for (k++; k < n_cells; k++) {
                if (cells[k] < 0) continue;
                V other = AT(x + cells[k] * padded + c);
                I is_more = (other > found) | (other != other);
                found = NAME(select)(is_more, other, found);
                cell = NAME(select)(is_more, (V){0} + (REAL)k, cell);
            }
            AT(slot->y + i + c) = found;
            AT(slot->kept + i + c) = cell;
        }
        if (++place == layer->n_places) place = 0, x += layer->n_before * padded;
    }
}

static void NAME(pool_backward)(NAME(Worker) *own, const Layer *layer, const NAME(Slot) *slot) {
    int64_t padded = NAME(whole)(layer->n_out), n_cells = layer->n_cells;
    int64_t size = own->n * padded, place = 0;
    REAL *dx = own->dx;
    own->n = own->n / layer->n_places * layer->n_before;
    memset(dx, 0, (size_t)(own->n * padded) * sizeof(REAL));
    for (int64_t i = 0; i < size; i += padded) {
        const int32_t *cells = layer->cells + place * n_cells;
        REAL count = layer->counts ? (REAL)layer->counts[place] : 1;
        for (int64_t c = 0; c < padded; c += LANES) {
            V dy = AT(own->dy + i + c) / count, cell = AT(slot->kept + i + c);
            for (int64_t k = 0; k < n_cells; k++) {
                if (cells[k] < 0) continue;
                V part = layer->counts ? dy : NAME(select)(cell == (REAL)k, dy, (V){0});
                AT(dx + cells[k] * padded + c) += part;
            }
        }
        if (++place == layer->n_places) place = 0, dx += layer->n_before * padded;
    }
    NAME(swap)(own);
}
