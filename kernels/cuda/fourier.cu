// Fourier transforms of rings, images and series, of any length, and their adjoints.
//
// Method: two real rows (a northern ring and its mirror image, or two rows of an image) are one complex sequence; a block transforms `batch` sequences by self-sorting
// passes between two buffers in shared memory, or in the arena where they do not fit. Radices up to 13 are straight code in registers. Larger primes up to 127 are
// products with cosines and sines of half their size: (R - 1)^2 multiply-adds per column instead of 2 R^2. Lengths with a larger prime factor are a convolution with a
// chirp (Bluestein), of a length 2^a 3^b 5^c.
//
// Cost (predicted, H200, 34 TFLOP/s and 4.8 TB/s, f64): 5 n log2 n flop and 32 n bytes per pair of rings of length n; a prime R costs 2 n (R - 1) flop instead of its share.
// L = 512 (511 = 7 x 73): 256 pairs are 4 MB and 25 MFLOP, 1 us by bytes, about 3 us at a quarter of the arithmetic's speed. L = 2048 (2047 = 23 x 89): 1024 pairs, 67 MB and
// 0.5 GFLOP, 14 us by bytes, about 60 us. Lengths with buffers in the arena move 32 n bytes per pass through the second-level cache instead.
namespace fourier {

struct Item {
    // First number of input and output, numbers between fields, buffers in the arena (-1: shared memory).
    long long from, to, from_stride, to_stride, scratch;
    // Factors of inner frequencies and of frequency zero and n / 2.
    double inner, outer;
    // Rows of a field, stored frequencies or columns, fields, sequences per block, blocks.
    int rows, width, fields, batch, parts;
    // Numbers of tables: roots of unity, and for chirps the chirp and its spectrum.
    int roots, chirp, spectrum;
};

struct Roots {
    const pair* roots;
    const pair* chirp;
    const pair* spectrum;
};

__device__ __forceinline__ Roots roots_of(Tables tables, const Item& item) {
    return {static_cast<const pair*>(tables[item.roots]), static_cast<const pair*>(tables[item.chirp]), static_cast<const pair*>(tables[item.spectrum])};
}

// a * w, or a * conj(w) for SIGN < 0.
template <int SIGN>
__device__ __forceinline__ complex turned(complex a, pair w) {
    const real c = static_cast<real>(w.x), s = static_cast<real>(SIGN * w.y);
    return {mad(a.re, c, -a.im * s), mad(a.re, s, a.im * c)};
}

__device__ __forceinline__ complex plus(complex a, complex b) { return {a.re + b.re, a.im + b.im}; }
__device__ __forceinline__ complex minus(complex a, complex b) { return {a.re - b.re, a.im - b.im}; }

// i a, or -i a for SIGN < 0.
template <int SIGN>
__device__ __forceinline__ complex quarter(complex a) {
    return {-SIGN * a.im, SIGN * a.re};
}

// x_j := sum_k x_k e^{SIGN 2 pi i j k / R}.
template <int R, int SIGN>
struct Butterfly;

template <int SIGN>
struct Butterfly<2, SIGN> {
    static __device__ __forceinline__ void run(complex* x) {
        const complex a = x[0], b = x[1];
        x[0] = plus(a, b);
        x[1] = minus(a, b);
    }
};

template <int SIGN>
struct Butterfly<4, SIGN> {
    static __device__ __forceinline__ void run(complex* x) {
        const complex a = plus(x[0], x[2]), b = minus(x[0], x[2]), c = plus(x[1], x[3]), d = quarter<SIGN>(minus(x[1], x[3]));
        x[0] = plus(a, c);
        x[1] = plus(b, d);
        x[2] = minus(a, c);
        x[3] = minus(b, d);
    }
};

template <int SIGN>
struct Butterfly<8, SIGN> {
    static __device__ __forceinline__ void run(complex* x) {
        complex even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
        Butterfly<4, SIGN>::run(even);
        Butterfly<4, SIGN>::run(odd);
        const pair half = {0.70710678118654752440, 0.70710678118654752440}, three = {-0.70710678118654752440, 0.70710678118654752440};
        odd[1] = turned<SIGN>(odd[1], half);
        odd[2] = quarter<SIGN>(odd[2]);
        odd[3] = turned<SIGN>(odd[3], three);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            x[k] = plus(even[k], odd[k]);
            x[k + 4] = minus(even[k], odd[k]);
        }
    }
};

// One pass of radix R over sequences whose transforms of length NS are done.
template <int N, int SIGN, int NS, int R>
__device__ __forceinline__ void pass(const complex* from, complex* to, int batch, const pair* roots) {
    constexpr int columns = N / R;
    for (int i = threadIdx.x; i < batch * columns; i += blockDim.x) {
        const int sequence = i / columns, column = i % columns, done = column % NS;
        const complex* source = from + sequence * N + column;
        complex x[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
            x[r] = source[r * columns];
            if (NS > 1 && r > 0) x[r] = turned<SIGN>(x[r], roots[r * done * (columns / NS)]);
        }
        Butterfly<R, SIGN>::run(x);
        complex* target = to + sequence * N + (column / NS) * (NS * R) + done;
#pragma unroll
        for (int r = 0; r < R; r++) target[r * NS] = x[r];
    }
}

// The same for a prime R that does not fit in registers. `from` is overwritten: x_k and x_{R-k} by their sum and difference.
template <int N, int SIGN, int NS, int R>
__device__ __forceinline__ void prime(complex* from, complex* to, int batch, const pair* roots) {
    constexpr int columns = N / R, half = (R - 1) / 2, rows = (half + 1) / 2;
    for (int i = threadIdx.x; i < batch * columns * half; i += blockDim.x) {
        const int sequence = i / (columns * half), rest = i % (columns * half), k = rest / columns + 1, column = rest % columns, done = column % NS;
        complex* low = from + sequence * N + column + k * columns;
        complex* high = from + sequence * N + column + (R - k) * columns;
        complex a = *low, b = *high;
        if (NS > 1) {
            a = turned<SIGN>(a, roots[k * done * (columns / NS)]);
            b = turned<SIGN>(b, roots[(R - k) * done * (columns / NS)]);
        }
        *low = plus(a, b);
        *high = minus(a, b);
    }
    __syncthreads();
    // Two pairs of outputs per step; row zero holds output zero alone.
    for (int i = threadIdx.x; i < batch * columns * (rows + 1); i += blockDim.x) {
        const int sequence = i / (columns * (rows + 1)), rest = i % (columns * (rows + 1)), row = rest / columns, column = rest % columns;
        const complex* x = from + sequence * N + column;
        complex* target = to + sequence * N + (column / NS) * (NS * R) + column % NS;
        if (row == 0) {
            complex sum = x[0];
            for (int k = 1; k <= half; k++) sum = plus(sum, x[k * columns]);
            target[0] = sum;
            continue;
        }
        const int first = 2 * row - 1, second = 2 * row <= half ? 2 * row : first;
        complex even[2] = {x[0], x[0]}, odd[2] = {{0, 0}, {0, 0}};
        int at[2] = {0, 0};
        for (int k = 1; k <= half; k++) {
            const complex a = x[k * columns], b = x[(R - k) * columns];
#pragma unroll
            for (int j = 0; j < 2; j++) {
                at[j] += j == 0 ? first : second;
                at[j] -= at[j] >= R ? R : 0;
                const pair w = roots[at[j] * (N / R)];
                const real c = static_cast<real>(w.x), s = static_cast<real>(w.y);
                even[j] = {mad(a.re, c, even[j].re), mad(a.im, c, even[j].im)};
                odd[j] = {mad(b.re, s, odd[j].re), mad(b.im, s, odd[j].im)};
            }
        }
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int output = j == 0 ? first : second;
            const complex side = quarter<SIGN>(odd[j]);
            target[output * NS] = plus(even[j], side);
            target[(R - output) * NS] = minus(even[j], side);
        }
    }
}

template <int N, int SIGN, int NS>
__device__ __forceinline__ complex* passes(complex* from, complex*, int, const pair*) {
    return from;
}

template <int N, int SIGN, int NS, int R, int... REST>
__device__ __forceinline__ complex* passes(complex* from, complex* to, int batch, const pair* roots) {
    if constexpr (R <= 13)
        pass<N, SIGN, NS, R>(from, to, batch, roots);
    else
        prime<N, SIGN, NS, R>(from, to, batch, roots);
    __syncthreads();
    return passes<N, SIGN, NS * R, REST...>(to, from, batch, roots);
}

// A length with the factors of its passes, whose product it is.
template <int N, int... FACTORS>
struct Length {
    static constexpr int n = N, padded = N, passes = sizeof...(FACTORS);
    // `batch` sequences of `padded` numbers in `a`; returns where their transforms are, a or b.
    template <int SIGN>
    static __device__ __forceinline__ complex* run(complex* a, complex* b, int batch, const Roots& t) {
        return fourier::passes<N, SIGN, 1, FACTORS...>(a, b, batch, t.roots);
    }
};

// A length by a convolution: with w_k = e^{i pi k^2 / n}, X_j = w_j sum_k (x_k w_k) conj(w_{j-k}).
template <int N, class Inner>
struct Chirp {
    static constexpr int n = N, padded = Inner::n, passes = 2 * Inner::passes;
    template <int SIGN>
    static __device__ __forceinline__ complex* run(complex* a, complex* b, int batch, const Roots& t) {
        for (int i = threadIdx.x; i < batch * padded; i += blockDim.x) {
            const int k = i % padded;
            a[i] = k < N ? turned<SIGN>(a[i], t.chirp[k]) : complex{0, 0};
        }
        __syncthreads();
        complex* x = Inner::template run<-1>(a, b, batch, t);
        for (int i = threadIdx.x; i < batch * padded; i += blockDim.x) x[i] = turned<SIGN>(x[i], t.spectrum[i % padded]);
        __syncthreads();
        x = Inner::template run<1>(x, x == a ? b : a, batch, t);
        for (int i = threadIdx.x; i < batch * padded; i += blockDim.x)
            if (i % padded < N) x[i] = turned<SIGN>(x[i], t.chirp[i % padded]);
        __syncthreads();
        return x;
    }
};

// The two buffers of a part.
template <class S>
__device__ __forceinline__ complex* buffers(real* arena, const Item& item, int part) {
    if (item.scratch < 0) return reinterpret_cast<complex*>(dynamic_shared);
    return reinterpret_cast<complex*>(arena + item.scratch) + 2ll * part * item.batch * S::padded;
}

// Value k of the sequence f + i g of two real rows with half spectra F (north) and G (south, where it is not the same ring) of orders below `width`:
// outer Re F_0 + 2 inner Re sum F_m e^{i m phi}.
template <int n>
__device__ __forceinline__ complex spread(const complex* north, const complex* south, bool both, int width, real inner, real outer, int k) {
    const int m = k < width ? k : n - k;
    if (m >= width) return {0, 0};
    const complex f = north[m];
    complex g = {0, 0};
    if (both) g = south[m];
    if (m == 0) return {outer * f.re, outer * g.re};
    if (k < width) return {inner * (f.re - g.im), inner * (f.im + g.re)};
    return {inner * (f.re + g.im), inner * (g.re - f.im)};
}

// rings [rows][width] to a map [rows][n]: f = outer Re F_0 + 2 inner Re sum F_m e^{i m phi}.
template <class S>
__device__ __forceinline__ void rings_to_map(real* arena, Tables tables, const Item& item, int part) {
    constexpr int n = S::n;
    const Roots roots = roots_of(tables, item);
    complex* a = buffers<S>(arena, item, part);
    complex* b = a + item.batch * S::padded;
    const int pairs = (item.rows + 1) / 2, total = pairs * item.fields;
    const real inner = static_cast<real>(item.inner), outer = static_cast<real>(item.outer);
    for (int first = part * item.batch; first < total; first += item.parts * item.batch) {
        const int count = min(item.batch, total - first);
        __syncthreads();
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int sequence = i / n, k = i % n, field = (first + sequence) / pairs, north = (first + sequence) % pairs, south = item.rows - 1 - north;
            const complex* rings = reinterpret_cast<const complex*>(arena + item.from + field * item.from_stride);
            a[sequence * S::padded + k] = spread<n>(rings + static_cast<long long>(north) * item.width, rings + static_cast<long long>(south) * item.width, south != north, item.width, inner, outer, k);
        }
        __syncthreads();
        const complex* z = S::template run<1>(a, b, count, roots);
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int sequence = i / n, k = i % n, field = (first + sequence) / pairs, north = (first + sequence) % pairs, south = item.rows - 1 - north;
            const complex value = z[sequence * S::padded + k];
            real* map = arena + item.to + field * item.to_stride;
            map[static_cast<long long>(north) * n + k] = value.re;
            if (south != north) map[static_cast<long long>(south) * n + k] = value.im;
        }
    }
}

// The half spectra of two real sequences from that of the first plus i times the second.
__device__ __forceinline__ void split(complex z, complex mirror, complex& f, complex& g) {
    const real half = static_cast<real>(0.5);
    f = {half * (z.re + mirror.re), half * (z.im - mirror.im)};
    g = {half * (z.im + mirror.im), half * (mirror.re - z.re)};
}

// Order m of the half spectra of both rows from the transform of their sequence; Im F_0 = 0.
template <int n>
__device__ __forceinline__ void collect(const complex* z, complex* north, complex* south, bool both, real inner, real outer, int m) {
    complex f, g;
    split(z[m], z[m == 0 ? 0 : n - m], f, g);
    const real factor = m == 0 ? outer : inner;
    north[m] = {factor * f.re, m == 0 ? 0 : factor * f.im};
    if (both) south[m] = {factor * g.re, m == 0 ? 0 : factor * g.im};
}

// A map [rows][n] to rings [rows][width]: F_m = (inner, or outer for m = 0) sum f e^{-i m phi}; Im F_0 = 0.
template <class S>
__device__ __forceinline__ void map_to_rings(real* arena, Tables tables, const Item& item, int part) {
    constexpr int n = S::n;
    const Roots roots = roots_of(tables, item);
    complex* a = buffers<S>(arena, item, part);
    complex* b = a + item.batch * S::padded;
    const int pairs = (item.rows + 1) / 2, total = pairs * item.fields;
    for (int first = part * item.batch; first < total; first += item.parts * item.batch) {
        const int count = min(item.batch, total - first);
        __syncthreads();
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int sequence = i / n, k = i % n, field = (first + sequence) / pairs, north = (first + sequence) % pairs, south = item.rows - 1 - north;
            const real* map = arena + item.from + field * item.from_stride;
            complex value = {map[static_cast<long long>(north) * n + k], 0};
            if (south != north) value.im = map[static_cast<long long>(south) * n + k];
            a[sequence * S::padded + k] = value;
        }
        __syncthreads();
        const complex* z = S::template run<-1>(a, b, count, roots);
        for (int i = threadIdx.x; i < count * item.width; i += blockDim.x) {
            const int sequence = i / item.width, m = i % item.width, field = (first + sequence) / pairs, north = (first + sequence) % pairs;
            const int south = item.rows - 1 - north;
            complex* rings = reinterpret_cast<complex*>(arena + item.to + field * item.to_stride);
            collect<n>(z + sequence * S::padded, rings + static_cast<long long>(north) * item.width, rings + static_cast<long long>(south) * item.width, south != north,
                       static_cast<real>(item.inner), static_cast<real>(item.outer), m);
        }
    }
}

// Real rows [rows][n] to half spectra [rows][n / 2 + 1].
template <class S>
__device__ __forceinline__ void rows_to_half(real* arena, Tables tables, const Item& item, int part) {
    constexpr int n = S::n, half = n / 2 + 1;
    const Roots roots = roots_of(tables, item);
    complex* a = buffers<S>(arena, item, part);
    complex* b = a + item.batch * S::padded;
    const real* from = arena + item.from;
    complex* to = reinterpret_cast<complex*>(arena + item.to);
    const int total = (item.rows + 1) / 2;
    for (int first = part * item.batch; first < total; first += item.parts * item.batch) {
        const int count = min(item.batch, total - first);
        __syncthreads();
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int sequence = i / n, k = i % n;
            const long long row = 2ll * (first + sequence);
            complex value = {from[row * n + k], 0};
            if (row + 1 < item.rows) value.im = from[(row + 1) * n + k];
            a[sequence * S::padded + k] = value;
        }
        __syncthreads();
        const complex* z = S::template run<-1>(a, b, count, roots);
        for (int i = threadIdx.x; i < count * half; i += blockDim.x) {
            const int sequence = i / half, m = i % half;
            const long long row = 2ll * (first + sequence);
            complex f, g;
            split(z[sequence * S::padded + m], z[sequence * S::padded + (m == 0 ? 0 : n - m)], f, g);
            const real factor = static_cast<real>(m == 0 || 2 * m == n ? item.outer : item.inner);
            to[row * half + m] = {factor * f.re, factor * f.im};
            if (row + 1 < item.rows) to[(row + 1) * half + m] = {factor * g.re, factor * g.im};
        }
    }
}

// Half spectra [rows][n / 2 + 1] to real rows [rows][n]: outer (Re F_0 and Re F_{n/2}) + 2 inner Re sum F_m e^{..}.
template <class S>
__device__ __forceinline__ void half_to_rows(real* arena, Tables tables, const Item& item, int part) {
    constexpr int n = S::n, half = n / 2 + 1;
    const Roots roots = roots_of(tables, item);
    complex* a = buffers<S>(arena, item, part);
    complex* b = a + item.batch * S::padded;
    const complex* from = reinterpret_cast<const complex*>(arena + item.from);
    real* to = arena + item.to;
    const int total = (item.rows + 1) / 2;
    const real inner = static_cast<real>(item.inner), outer = static_cast<real>(item.outer);
    for (int first = part * item.batch; first < total; first += item.parts * item.batch) {
        const int count = min(item.batch, total - first);
        __syncthreads();
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int sequence = i / n, k = i % n, m = k < half ? k : n - k;
            const long long row = 2ll * (first + sequence);
            const complex f = from[row * half + m];
            complex g = {0, 0};
            if (row + 1 < item.rows) g = from[(row + 1) * half + m];
            complex value;
            if (m == 0 || 2 * m == n)
                value = {outer * f.re, outer * g.re};
            else if (k < half)
                value = {inner * (f.re - g.im), inner * (f.im + g.re)};
            else
                value = {inner * (f.re + g.im), inner * (g.re - f.im)};
            a[sequence * S::padded + k] = value;
        }
        __syncthreads();
        const complex* z = S::template run<1>(a, b, count, roots);
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int sequence = i / n, k = i % n;
            const long long row = 2ll * (first + sequence);
            const complex value = z[sequence * S::padded + k];
            to[row * n + k] = value.re;
            if (row + 1 < item.rows) to[(row + 1) * n + k] = value.im;
        }
    }
}

// Spectra [fields][rows][n] to real and imaginary planes [fields][2][rows][n], or back.
template <class S, int SIGN>
__device__ __forceinline__ void planes(real* arena, Tables tables, const Item& item, int part) {
    constexpr int n = S::n;
    const Roots roots = roots_of(tables, item);
    complex* a = buffers<S>(arena, item, part);
    complex* b = a + item.batch * S::padded;
    const int total = item.rows * item.fields;
    const long long plane = static_cast<long long>(item.rows) * n;
    const real factor = static_cast<real>(item.outer);
    for (int first = part * item.batch; first < total; first += item.parts * item.batch) {
        const int count = min(item.batch, total - first);
        __syncthreads();
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int row = first + i / n, k = i % n;
            complex value;
            if (SIGN > 0) {
                value = reinterpret_cast<const complex*>(arena + item.from)[static_cast<long long>(row) * n + k];
            } else {
                const real* re = arena + item.from + row / item.rows * 2 * plane + row % item.rows * static_cast<long long>(n) + k;
                value = {re[0], re[plane]};
            }
            a[i / n * S::padded + k] = {factor * value.re, factor * value.im};
        }
        __syncthreads();
        const complex* z = S::template run<SIGN>(a, b, count, roots);
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) {
            const int row = first + i / n, k = i % n;
            const complex value = z[i / n * S::padded + k];
            if (SIGN > 0) {
                real* re = arena + item.to + row / item.rows * 2 * plane + row % item.rows * static_cast<long long>(n) + k;
                re[0] = value.re;
                re[plane] = value.im;
            } else {
                reinterpret_cast<complex*>(arena + item.to)[static_cast<long long>(row) * n + k] = value;
            }
        }
    }
}

// Every column of [fields][n][width] complex numbers; input and output may be the same.
template <class S, int SIGN>
__device__ __forceinline__ void columns(real* arena, Tables tables, const Item& item, int part) {
    constexpr int n = S::n;
    const Roots roots = roots_of(tables, item);
    complex* a = buffers<S>(arena, item, part);
    complex* b = a + item.batch * S::padded;
    const int groups = (item.width + item.batch - 1) / item.batch, total = groups * item.fields;
    for (int group = part; group < total; group += item.parts) {
        const int field = group / groups, first = group % groups * item.batch, count = min(item.batch, item.width - first);
        const long long start = static_cast<long long>(field) * n * item.width + first;
        const complex* from = reinterpret_cast<const complex*>(arena + item.from) + start;
        complex* to = reinterpret_cast<complex*>(arena + item.to) + start;
        __syncthreads();
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) a[i % count * S::padded + i / count] = from[static_cast<long long>(i / count) * item.width + i % count];
        __syncthreads();
        const complex* z = S::template run<SIGN>(a, b, count, roots);
        for (int i = threadIdx.x; i < count * n; i += blockDim.x) to[static_cast<long long>(i / count) * item.width + i % count] = z[i % count * S::padded + i / count];
    }
}

// Rings and samples of one pair inside a tile: a ring and its mirror, the sequence north + i south. All threads of the block call what follows, and no barrier stands at
// the beginning or at the end.
struct Pair {
    complex *north, *south;
    // Numbers between rows, orders.
    long long stride;
    int width;
    // Whether there is a southern ring.
    bool both;
    real inner, outer;
};

// `count` rows of half spectra to sequences that begin at `home`, S::n apart, with as much memory in `other`.
template <class S>
__device__ __forceinline__ void pair_to_home(const Pair& rings, complex* home, complex* other, int count, const Roots& roots) {
    static_assert(S::n == S::padded, "a convolution needs longer buffers");
    complex* start = S::passes % 2 == 0 ? home : other;
    for (int i = threadIdx.x; i < count * S::n; i += blockDim.x) {
        const long long row = i / S::n * rings.stride;
        start[i] = spread<S::n>(rings.north + row, rings.south + row, rings.both, rings.width, rings.inner, rings.outer, i % S::n);
    }
    __syncthreads();
    S::template run<1>(start, S::passes % 2 == 0 ? other : home, count, roots);
}

// The same by way of two buffers: returns sequences S::padded apart in one of them.
template <class S>
__device__ __forceinline__ const complex* pair_to_buffer(const Pair& rings, complex* a, complex* b, int count, const Roots& roots) {
    for (int i = threadIdx.x; i < count * S::n; i += blockDim.x) {
        const int row = i / S::n, k = i % S::n;
        a[row * S::padded + k] = spread<S::n>(rings.north + row * rings.stride, rings.south + row * rings.stride, rings.both, rings.width, rings.inner, rings.outer, k);
    }
    __syncthreads();
    return S::template run<1>(a, b, count, roots);
}

// Sequences S::padded apart in a, with as much memory in b, to half spectra; both are overwritten.
template <class S>
__device__ __forceinline__ void buffer_to_pair(const Pair& rings, complex* a, complex* b, int count, const Roots& roots) {
    const complex* z = S::template run<-1>(a, b, count, roots);
    for (int i = threadIdx.x; i < count * rings.width; i += blockDim.x) {
        const int row = i / rings.width, m = i % rings.width;
        collect<S::n>(z + row * S::padded, rings.north + row * rings.stride, rings.south + row * rings.stride, rings.both, rings.inner, rings.outer, m);
    }
}

// Samples of one pair in the arena: rows `stride` apart.
struct Samples {
    real *north, *south;
    long long stride;
    bool both;
};

template <class S>
__device__ __forceinline__ void store_samples(const Samples& to, const complex* z, int count) {
    for (int i = threadIdx.x; i < count * S::n; i += blockDim.x) {
        const int row = i / S::n, k = i % S::n;
        const complex value = z[row * S::padded + k];
        to.north[row * to.stride + k] = value.re;
        if (to.both) to.south[row * to.stride + k] = value.im;
    }
}

template <class S>
__device__ __forceinline__ void load_samples(const Samples& from, complex* a, int count) {
    for (int i = threadIdx.x; i < count * S::n; i += blockDim.x) {
        const int row = i / S::n, k = i % S::n;
        complex value = {from.north[row * from.stride + k], 0};
        if (from.both) value.im = from.south[row * from.stride + k];
        a[row * S::padded + k] = value;
    }
}

// Sequences of another distance.
__device__ __forceinline__ void copy_sequences(const complex* from, int from_stride, complex* to, int to_stride, int n, int count) {
    for (int i = threadIdx.x; i < count * n; i += blockDim.x) to[i / n * to_stride + i % n] = from[i / n * from_stride + i % n];
}

}  // namespace fourier
