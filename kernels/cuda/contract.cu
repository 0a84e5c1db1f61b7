// Weighted bilinear sums of rows, and their adjoint mixtures.
//
// Gram: a block adds up the sixteen products of four rows with four rows over a chunk of elements; a second launch adds the chunks in order and spreads the sums to the
// outputs. Mixture: a block adds up the coefficients of each row of four outputs that read the same rows, then mixes a chunk of elements.
//
// Cost (predicted, H200, 34 TFLOP/s and 4.8 TB/s, f64): a tile of 4 x 4 products reads 72 bytes and does 36 flop per element, mostly from the second-level cache; 26 rows
// of 260 000 elements (28 tiles): 54 MB from memory, 520 MB from the cache and 260 MFLOP, about 100 us. A mixture of n rows into four outputs: 8 (n + 4) bytes and 8 n flop
// per element; 26 rows into 26: 420 MB from the cache, 80 us.
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

// One row of up to four outputs: the coefficients of output o are first[o] .. first[o + 1] of the list.
struct Term {
    long long row;
    int first[5];
};

// Up to four outputs that read the same rows.
struct Target {
    long long outputs[4];
    int count, first, last;
};

struct Mix {
    const Target* targets;
    const Term* terms;
    const long long* coefficients;
    long long row_len;
    int chunk, chunks, weights;
};

__device__ __forceinline__ void mix(real* arena, Tables tables, const Mix& item, int part) {
    const Target& target = item.targets[part / item.chunks];
    const int chunk = part % item.chunks, rows = target.last - target.first;
    const Term* terms = item.terms + target.first;
    const double* weights = item.weights < 0 ? nullptr : static_cast<const double*>(tables[item.weights]);
    real* z = reinterpret_cast<real*>(dynamic_shared);
    for (int i = threadIdx.x; i < 4 * rows; i += threads) {
        double sum = 0.0;
        for (int c = terms[i / 4].first[i % 4]; c < terms[i / 4].first[i % 4 + 1]; c++) sum += arena[item.coefficients[c]];
        z[i] = static_cast<real>(sum);
    }
    __syncthreads();
    const long long from = static_cast<long long>(chunk) * item.chunk, to = from + item.chunk < item.row_len ? from + item.chunk : item.row_len;
    for (long long e = from + threadIdx.x; e < to; e += threads) {
        real sums[4] = {0, 0, 0, 0};
#pragma unroll 4
        for (int t = 0; t < rows; t++) {
            const real value = arena[terms[t].row + e];
#pragma unroll
            for (int o = 0; o < 4; o++) sums[o] = mad(z[4 * t + o], value, sums[o]);
        }
        const real weight = weights ? static_cast<real>(weights[e]) : 1;
#pragma unroll
        for (int o = 0; o < 4; o++)
            if (o < target.count) arena[target.outputs[o] + e] = weight * sums[o];
    }
}

}  // namespace contract
