// Products with sparse matrices in rows, copies with strides, fills.
//
// Cost (predicted, H200, 4.8 TB/s): bytes alone: 12 per entry (a column and a value) for all fields and the width together, 8 per number read and written.
namespace sparse {

constexpr int threads = 256;

struct Product {
    // First numbers of input and output, numbers between fields.
    long long x, y, x_stride, y_stride;
    // Numbers per entry, rows, fields; tables of row starts, columns and values (-1: ones).
    int width, rows, fields, starts, columns, values;
};

// y[o width + i] = sum_k v_k x[c_k width + i], a thread per number.
__device__ __forceinline__ void product(real* arena, Tables tables, const Product& item, int part) {
    const long long each = static_cast<long long>(item.rows) * item.width, k = static_cast<long long>(part) * threads + threadIdx.x;
    if (k >= each * item.fields) return;
    const int* starts = static_cast<const int*>(tables[item.starts]);
    const int* columns = static_cast<const int*>(tables[item.columns]);
    const double* values = item.values < 0 ? nullptr : static_cast<const double*>(tables[item.values]);
    const long long field = k / each, row = k % each / item.width, i = k % item.width;
    const real* x = arena + item.x + field * item.x_stride + i;
    double sum = 0.0;
    for (int e = starts[row]; e < starts[row + 1]; e++) {
        const double value = x[static_cast<long long>(columns[e]) * item.width];
        sum = values ? mad(values[e], value, sum) : sum + value;
    }
    arena[item.y + field * item.y_stride + row * item.width + i] = static_cast<real>(sum);
}

// The same with a block per number, for rows of many entries.
__device__ __forceinline__ void long_product(real* arena, Tables tables, const Product& item, int part) {
    const long long each = static_cast<long long>(item.rows) * item.width;
    const int* starts = static_cast<const int*>(tables[item.starts]);
    const int* columns = static_cast<const int*>(tables[item.columns]);
    const double* values = item.values < 0 ? nullptr : static_cast<const double*>(tables[item.values]);
    const long long field = part / each, row = part % each / item.width, i = part % item.width;
    const real* x = arena + item.x + field * item.x_stride + i;
    double sum[1] = {0.0};
    for (int e = starts[row] + threadIdx.x; e < starts[row + 1]; e += threads) {
        const double value = x[static_cast<long long>(columns[e]) * item.width];
        sum[0] = values ? mad(values[e], value, sum[0]) : sum[0] + value;
    }
    block_sums(sum, reinterpret_cast<double*>(dynamic_shared));
    if (threadIdx.x == 0) arena[item.y + field * item.y_stride + row * item.width + i] = static_cast<real>(sum[0]);
}

struct Copy {
    long long from, to, from_stride, to_stride, run, count;
};

// `count` runs of `run` numbers.
__device__ __forceinline__ void copy(real* arena, Tables, const Copy& item, int part) {
    const long long k = static_cast<long long>(part) * threads + threadIdx.x;
    if (k < item.run * item.count) arena[item.to + k / item.run * item.to_stride + k % item.run] = arena[item.from + k / item.run * item.from_stride + k % item.run];
}

struct Fill {
    long long to, count;
    double value;
};

__device__ __forceinline__ void fill(real* arena, Tables, const Fill& item, int part) {
    const long long k = static_cast<long long>(part) * threads + threadIdx.x;
    if (k < item.count) arena[item.to + k] = static_cast<real>(item.value);
}

}  // namespace sparse
