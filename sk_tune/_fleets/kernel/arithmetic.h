/* SPDX-FileCopyrightText: sk_tune contributors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Matrix products and vector functions, for one floating-point type.
 */
#define V NAME(Vector)
#define I NAME(Integers)
#define LANES ((int64_t)(VECTOR / sizeof(REAL)))
/* An unaligned vector in memory. */
#define AT(p) (*(NAME(Loose) *)(p))

typedef REAL V __attribute__((vector_size(VECTOR)));
typedef INTEGER I __attribute__((vector_size(VECTOR)));
typedef REAL NAME(Loose) __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));

/* C[i, j] = start[i, j] + sum over k of A[i, k] B[k, j] for n_rows of i and n_vectors of j. */
#define PRODUCT(name, n_rows, n_vectors)                                                     \
    static inline void NAME(name)(int64_t n, const REAL *A, int64_t row, int64_t column,     \
                                  const REAL *B, int64_t b_row, REAL *C, int64_t c_row,      \
                                  const REAL *start, int64_t start_row) {                    \
        V sums[n_rows][n_vectors];                                                           \
        for (int i = 0; i < n_rows; i++)                                                     \
            for (int j = 0; j < n_vectors; j++)                                              \
                sums[i][j] = start ? (V)AT(start + i * start_row + j * LANES) : (V){0};      \
        for (int64_t k = 0; k < n; k++) {                                                    \
            V b[n_vectors];                                                                  \
            for (int j = 0; j < n_vectors; j++)                                              \
                b[j] = AT(B + k * b_row + j * LANES);                                        \
            for (int i = 0; i < n_rows; i++)                                                 \
                for (int j = 0; j < n_vectors; j++)                                          \
                    sums[i][j] += A[i * row + k * column] * b[j];                            \
        }                                                                                    \
        for (int i = 0; i < n_rows; i++)                                                     \
            for (int j = 0; j < n_vectors; j++)                                              \
                AT(C + i * c_row + j * LANES) = sums[i][j];                                  \
    }
PRODUCT(block_of_two, BLOCK, 2)
PRODUCT(block_of_one, BLOCK, 1)
PRODUCT(row_of_two, 1, 2)
PRODUCT(row_of_one, 1, 1)
#undef PRODUCT

/* C (n_rows, n_columns) = start + A B.  A has two strides, so that it may be a transposed view;
 * columns are whole vectors; start_row = 0 adds the same start to each row.  Strips of B, or all of
 * it if it is small, stay in the nearest cache. */
static void NAME(product)(int64_t n_rows, int64_t n_columns, int64_t n, const REAL *A,
                          int64_t row, int64_t column, const REAL *B, int64_t b_row, REAL *C,
                          int64_t c_row, const REAL *start, int64_t start_row) {
    int is_small = n * n_columns * (int64_t)sizeof(REAL) <= NEAREST_CACHE;
    int64_t width = is_small ? n_columns : 2 * LANES, n_next;
    for (int64_t first = 0; first < n_columns; first += width) {
        int64_t end = first + width < n_columns ? first + width : n_columns;
        for (int64_t i = 0; i < n_rows; i += n_next) {
            n_next = i + BLOCK <= n_rows ? BLOCK : 1;
            for (int64_t j = first; j < end; j += 2 * LANES) {
                const REAL *row_start = start ? start + i * start_row + j : NULL;
                int is_two = j + 2 * LANES <= end;
                (n_next > 1 ? is_two ? NAME(block_of_two) : NAME(block_of_one)
                 : is_two   ? NAME(row_of_two)
                            : NAME(row_of_one))(n, A + i * row, row, column, B + j, b_row,
                                                C + i * c_row + j, c_row, row_start, start_row);
            }
        }
    }
}

/* A comparison gives -1 or 0 in each lane, and 0 for NaN. */
static inline V NAME(select)(I condition, V a, V b) {
    return (V)((condition & (I)a) | (~condition & (I)b));
}

static inline V NAME(magnitude)(V x) { return NAME(select)(x < 0, -x, x); }

/* e^x - 1 = scale * result + (scale - 1), with e^x = 2^n e^r, |r| <= ln 2 / 2, and e^r - 1 as the
 * sum of r^k / k!. */
static inline V NAME(exponential)(V x, V *scale) {
    const REAL shift = (REAL)3 * ((INTEGER)1 << (MANTISSA - 1));
    x = NAME(select)(x < LEAST_EXPONENT, (V){0} + LEAST_EXPONENT, x);
    x = NAME(select)(x > MOST_EXPONENT, (V){0} + MOST_EXPONENT, x);
    /* The shift leaves n in the lowest bits of the mantissa. */
    V shifted = x * (REAL)1.4426950408889634 + shift, n = shifted - shift;
    V r = x - n * LN2_HIGH - n * LN2_LOW, sum = (V){0} + (REAL)INVERSE_FACTORIALS[POWERS];
    for (int k = POWERS - 1; k > 0; k--) sum = sum * r + (REAL)INVERSE_FACTORIALS[k];
    *scale = (V)(((I)shifted + ONE) << MANTISSA);
    return sum * r;
}

static inline V NAME(exp)(V x) {
    V scale, part = NAME(exponential)(x, &scale);
    return scale * part + scale;
}

static inline V NAME(expm1)(V x) {
    V scale, part = NAME(exponential)(x, &scale);
    return scale * part + (scale - 1);
}

/* Cosine and sine of t turns: with t = (n + r) / 4, |r| <= 1/2, their series at a quarter of r
 * turns, exchanged and negated by n. */
static inline V NAME(cosine)(V t, V *sine) {
    const REAL shift = (REAL)3 * ((INTEGER)1 << (MANTISSA - 1));
    V shifted = t * 4 + shift, angle = (t * 4 - (shifted - shift)) * (REAL)1.5707963267948966;
    V square = angle * angle, c = {0}, s = {0};
    for (int k = (POWERS + 3) / 2; k >= 0; k--) {
        c = (REAL)INVERSE_FACTORIALS[2 * k] - square * c;
        s = (REAL)INVERSE_FACTORIALS[2 * k + 1] - square * s;
    }
    s *= angle;
    I n = (I)shifted, is_odd = (n & 1) == 1;
    *sine = NAME(select)(is_odd, c, s);
    c = NAME(select)(is_odd, s, c);
    *sine = NAME(select)((n & 2) == 2, -*sine, *sine);
    return NAME(select)(((n + 1) & 2) == 2, -c, c);
}

static inline V NAME(rational)(V x, const double *above, int n_above, const double *below,
                               int n_below) {
    V a = (V){0} + (REAL)above[0], b = x + (REAL)below[0];
    for (int k = 1; k < n_above; k++) a = a * x + (REAL)above[k];
    for (int k = 1; k < n_below; k++) b = b * x + (REAL)below[k];
    return a / b;
}

/* Distribution function and density of the standard normal distribution; erf and erfc as in Cephes
 * (S. Moshier), ndtr.c. */
static inline V NAME(normal_cdf)(V x, V *density) {
    V t = x * (REAL)0.70710678118654752, size = NAME(magnitude)(t), e = NAME(exp)(-t * t);
    V far = NAME(select)(size > 8, (V){0} + 8, size);
    V tail = e * NAME(rational)(far, ERFC_ABOVE, 9, ERFC_BELOW, 8) / 2;
    V near = NAME(select)(size > 1, (V){0}, t);
    V middle = near * NAME(rational)(near * near, ERF_ABOVE, 5, ERF_BELOW, 5) / 2;
    *density = e * (REAL)0.39894228040143268;
    V outside = NAME(select)(t < 0, tail, 1 - tail);
    return NAME(select)(size > 1, outside, middle + (REAL)0.5);
}

/* An activation and its slope, which is not computed where the caller ignores it. */
static inline __attribute__((always_inline)) V NAME(function)(int64_t function, V x,
                                                              REAL number, V *slope) {
    V e, y, s;
    I above = x > 0;
    switch ((enum function)function) {
    case TANH:
        e = NAME(expm1)(2 * NAME(magnitude)(x));
        y = e / (e + 2);
        y = NAME(select)(x < 0, -y, y);
        *slope = 1 - y * y;
        return y;
    case LOGISTIC:
        y = 1 / (1 + NAME(exp)(-x));
        *slope = y * (1 - y);
        return y;
    case ELU:
    case SELU:
        s = (V){0} + (function == SELU ? (REAL)1.0507009873554805 : 1);
        e = NAME(expm1)(x) * number;
        *slope = s * NAME(select)(above, (V){0} + 1, e + number);
        return s * NAME(select)(above, x, e);
    case SILU:
        s = 1 / (1 + NAME(exp)(-x));
        *slope = s * (1 + x * (1 - s));
        return x * s;
    case GELU:
        s = NAME(normal_cdf)(x, &e);
        *slope = s + x * e;
        return x * s;
    case MISH:
        /* tanh(log(1 + e^x)) = s / (s + 2), which is 1 from x = 40 on. */
        e = NAME(exp)(NAME(select)(x > 40, (V){0} + 40, x));
        s = e * (e + 2);
        y = s / (s + 2);
        *slope = y + x * (1 + y) * 2 / (s + 2) * e / (1 + e);
        return x * y;
    case RELU:
    case LEAKY_RELU: break;
    }
    *slope = NAME(select)(above, (V){0} + 1, (V){0} + number);
    return x * *slope;
}
