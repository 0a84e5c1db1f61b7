// Weighted bilinear sums of rows, and their adjoint mixtures.
//
// Gram: a block adds up the sixteen products of four rows with four rows over a chunk of elements; a second launch adds the chunks in order and spreads the sums to the
// outputs. Mixture: a block adds up the coefficients of each row of one output, then mixes a chunk of elements.
//
// Cost (predicted, H200, 34 TFLOP/s and 4.8 TB/s, f64): a tile of 4 x 4 products reads 72 bytes and does 36 flop per element, mostly from the second-level cache; 26 rows of
// 260 000 elements (28 tiles): 54 MB from memory, 520 MB from the cache and 260 MFLOP, about 100 us. A mixture of n rows: 8 (n + 1) bytes and 2 n flop per element.
namespace contract {

constexpr int threads = 256;

struct Gram {
    // First numbers of rows, four and four rows of every tile, place of the partial sums.
    const long long* rows;
    const int* tiles;
    long long row_len, partial;
    // Elements of a chunk, chunks, table of weights (-1: ones).
    int chunk, chunks, weights;
};

// Tile and chunk of a part; partial sums lie as [tile][chunk][16].
__device__ __forceinline__ void gram(real* arena, Tables tables, const Gram& item, int part) {
    const int tile = part / item.chunks, chunk = part % item.chunks;
    const double* weights = item.weights < 0 ? nullptr : static_cast<const double*>(tables[item.weights]);
    const real* a[4];
    const real* b[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        a[k] = arena + item.rows[item.tiles[8 * tile + k]];
        b[k] = arena + item.rows[item.tiles[8 * tile + 4 + k]];
    }
    const long long from = static_cast<long long>(chunk) * item.chunk, to = from + item.chunk < item.row_len ? from + item.chunk : item.row_len;
    double sums[16];
#pragma unroll
    for (int k = 0; k < 16; k++) sums[k] = 0.0;
    for (long long e = from + threadIdx.x; e < to; e += threads) {
        const double w = weights ? weights[e] : 1.0;
        double x[4], y[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            x[k] = w * static_cast<double>(a[k][e]);
            y[k] = b[k][e];
        }
#pragma unroll
        for (int k = 0; k < 16; k++) sums[k] = mad(x[k / 4], y[k % 4], sums[k]);
    }
    block_sums(sums, reinterpret_cast<double*>(dynamic_shared));
    if (threadIdx.x == 0)
#pragma unroll
        for (int k = 0; k < 16; k++) arena[item.partial + 16ll * part + k] = static_cast<real>(sums[k]);
}

struct Spread {
    // First output of every buffer and of the end, and where buffers begin; tile and product of every output.
    const int* first;
    const long long* buffers;
    const int* places;
    long long partial;
    int count, buffers_count, chunks;
};

__device__ __forceinline__ void spread(real* arena, Tables, const Spread& item, int part) {
    const int k = part * threads + threadIdx.x;
    if (k >= item.count) return;
    const int buffer = item_of(item.first, item.buffers_count, k), place = item.places[k];
    const real* partial = arena + item.partial + 16ll * (place / 16) * item.chunks + place % 16;
    double sum = 0.0;
    for (int chunk = 0; chunk < item.chunks; chunk++) sum += partial[16ll * chunk];
    arena[item.buffers[buffer] + k - item.first[buffer]] = static_cast<real>(sum);
}

// One row of one output: its coefficients are first .. last of the list.
struct Term {
    long long row;
    int first, last;
};

struct Mix {
    const Term* terms;
    const long long* coefficients;
    // First term of every output, and of the end; where outputs begin.
    const int* first;
    const long long* outputs;
    long long row_len;
    int chunk, chunks, weights;
};

__device__ __forceinline__ void mix(real* arena, Tables tables, const Mix& item, int part) {
    const int output = part / item.chunks, chunk = part % item.chunks;
    const double* weights = item.weights < 0 ? nullptr : static_cast<const double*>(tables[item.weights]);
    real* z = reinterpret_cast<real*>(dynamic_shared);
    const int first = item.first[output], last = item.first[output + 1];
    for (int t = first + threadIdx.x; t < last; t += threads) {
        double sum = 0.0;
        for (int c = item.terms[t].first; c < item.terms[t].last; c++) sum += arena[item.coefficients[c]];
        z[t - first] = static_cast<real>(sum);
    }
    __syncthreads();
    const long long from = static_cast<long long>(chunk) * item.chunk, to = from + item.chunk < item.row_len ? from + item.chunk : item.row_len;
    real* out = arena + item.outputs[output];
    for (long long e = from + threadIdx.x; e < to; e += threads) {
        real sum = 0;
#pragma unroll 4
        for (int t = first; t < last; t++) sum = mad(z[t - first], arena[item.terms[t].row + e], sum);
        out[e] = weights ? static_cast<real>(weights[e]) * sum : sum;
    }
}

}  // namespace contract
