// out[b][n] = sum over k of x[b][k] * weight[n][k], for at most eight b: each weight is read once, eight sums at a time.

#include <cstdint>

typedef float Sixteen __attribute__((vector_size(64), aligned(4)));

template <int B>
static void rows(const float* x, const float* weight, float* out, int64_t n, int64_t k) {
  for (int64_t j = 0; j < n; ++j, weight += k) {
    Sixteen sums[B] = {};
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) {
      const Sixteen here = *(const Sixteen*)(weight + i);
      __builtin_prefetch(weight + i + 1024);  // 4 KB on: memory answers late
      for (int b = 0; b < B; ++b) sums[b] += here * *(const Sixteen*)(x + b * k + i);
    }
    for (int b = 0; b < B; ++b) {
      float sum = 0;
      for (int lane = 0; lane < 16; ++lane) sum += sums[b][lane];
      for (int64_t rest = i; rest < k; ++rest) sum += weight[rest] * x[b * k + rest];
      out[b * n + j] = sum;
    }
  }
}

extern "C" void few_rows(const float* x, const float* weight, float* out, int64_t b, int64_t n, int64_t k) {
  switch (b) {
    case 1: return rows<1>(x, weight, out, n, k);
    case 2: return rows<2>(x, weight, out, n, k);
    case 3: return rows<3>(x, weight, out, n, k);
    case 4: return rows<4>(x, weight, out, n, k);
    case 5: return rows<5>(x, weight, out, n, k);
    case 6: return rows<6>(x, weight, out, n, k);
    case 7: return rows<7>(x, weight, out, n, k);
    case 8: return rows<8>(x, weight, out, n, k);
  }
}
