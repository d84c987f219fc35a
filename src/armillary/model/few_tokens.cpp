// One layer of the reasoner for a few tokens that follow others: norm, heads, look back, out, norm, MLP.
// Each weight is read once for eight tokens, sixteen numbers at a time; all else is small beside that, and small it stays
// here, where nothing is called between two sums.

#include <cmath>
#include <cstdint>
#include <vector>

static const float LEAST = -1e30f;  // stands for minus infinity, which fast arithmetic does not know
typedef float Sixteen __attribute__((vector_size(64), aligned(4)));

struct Layer {  // weights n k, row by row; norms and gate may be null
  const float *norm, *q, *k, *v, *norm_q, *norm_k, *out, *after, *gate, *up, *down;
  int64_t width, heads, groups, e, mlp;
  float eps;
};

// out[b][j] = sum over k of x[b][k] * weight[j][k]. The fewer the b, the more rows are read side by side: memory then
// answers sooner, and their sums still fit the processor.
template <int B, int R>
static int64_t rows(const float* x, const float* weight, float* out, int64_t n, int64_t k, int64_t j) {
  for (; j + R <= n; j += R) {
    const float* begin = weight + j * k;
    Sixteen sums[R][B] = {};
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) {
      for (int r = 0; r < R; ++r) {
        const Sixteen here = *(const Sixteen*)(begin + r * k + i);
        __builtin_prefetch(begin + r * k + i + 1024);  // 4 KB on: memory answers late
        for (int b = 0; b < B; ++b) sums[r][b] += here * *(const Sixteen*)(x + b * k + i);
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int b = 0; b < B; ++b) {
        float sum = 0;
        for (int lane = 0; lane < 16; ++lane) sum += sums[r][b][lane];
        for (int64_t rest = i; rest < k; ++rest) sum += begin[r * k + rest] * x[b * k + rest];
        out[b * n + j + r] = sum;
      }
    }
  }
  return j;
}

template <int B>
static void few(const float* x, const float* weight, float* out, int64_t n, int64_t k) {
  rows<B, 1>(x, weight, out, n, k, rows<B, B < 4 ? 4 : 1>(x, weight, out, n, k, 0));
}

extern "C" void few_rows(const float* x, const float* weight, float* out, int64_t b, int64_t n, int64_t k) {
  for (; b > 8; b -= 8, x += 8 * k, out += 8 * n) few<8>(x, weight, out, n, k);
  switch (b) {
    case 1: return few<1>(x, weight, out, n, k);
    case 2: return few<2>(x, weight, out, n, k);
    case 3: return few<3>(x, weight, out, n, k);
    case 4: return few<4>(x, weight, out, n, k);
    case 5: return few<5>(x, weight, out, n, k);
    case 6: return few<6>(x, weight, out, n, k);
    case 7: return few<7>(x, weight, out, n, k);
    case 8: return few<8>(x, weight, out, n, k);
  }
}

// Each of the n rows of x over its root mean square, times scale. x may be out.
static void normed(const float* x, const float* scale, float* out, int64_t n, int64_t width, float eps) {
  for (int64_t b = 0; b < n; ++b, x += width, out += width) {
    float sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
    const float root = 1.0f / std::sqrt(sum / width + eps);
    for (int64_t i = 0; i < width; ++i) out[i] = x[i] * root * scale[i];
  }
}

// Heads e of one token, normed where they are, turned by its angles.
static void turned(float* head, const float* norm, const float* cos, const float* sin, int64_t many, const Layer& how) {
  const int64_t half = how.e / 2;
  if (norm) normed(head, norm, head, many, how.e, how.eps);
  for (; many; --many, head += how.e) {
    for (int64_t i = 0; i < half; ++i) {
      const float first = head[i], second = head[i + half];
      head[i] = first * cos[i] - second * sin[i];
      head[i + half] = second * cos[i + half] + first * sin[i + half];
    }
  }
}

// One query over keys and values m e: their mean, weighed by the softmax of scores and bias (null: none).
static void seen(const float* q, const float* keys, const float* values, const float* bias, float* weights, float* out,
                 int64_t m, int64_t e) {
  const float scale = 1.0f / std::sqrt((float)e);
  float most = 2 * LEAST, all = 0;
  for (int64_t j = 0; j < m; ++j) {
    float sum = 0;
    for (int64_t i = 0; i < e; ++i) sum += q[i] * keys[j * e + i];
    weights[j] = sum * scale;
  }
  if (bias) for (int64_t j = 0; j < m; ++j) weights[j] += bias[j] < LEAST ? LEAST : bias[j];
  for (int64_t j = 0; j < m; ++j) most = weights[j] > most ? weights[j] : most;
  for (int64_t j = 0; j < m; ++j) all += weights[j] = std::exp(weights[j] - most);
  for (int64_t i = 0; i < e; ++i) out[i] = 0;
  for (int64_t j = 0; j < m; ++j) {
    const float weight = weights[j] / all;
    for (int64_t i = 0; i < e; ++i) out[i] += weight * values[j * e + i];
  }
}

// x b n width becomes what the layer makes of it. cos and sin b n e; keys and values b groups m e, ``apart`` numbers from
// group to group, whose last n places are filled; bias b groups (heads/groups n) m, or null.
extern "C" void go_on(const Layer* layer, float* x, const float* cos, const float* sin, float* keys, float* values,
                      const float* bias, int64_t b, int64_t n, int64_t m, int64_t apart) {
  const Layer& how = *layer;
  const int64_t tokens = b * n, e = how.e, share = how.heads / how.groups, past = m - n;
  const int64_t wide = how.heads * e, narrow = how.groups * e;
  std::vector<float> room(tokens * (how.width + 2 * wide + 2 * narrow + 2 * how.mlp) + m);
  float *y = room.data(), *q = y + tokens * how.width, *k = q + tokens * wide, *v = k + tokens * narrow;
  float *found = v + tokens * narrow, *gate = found + tokens * wide, *up = gate + tokens * how.mlp, *weights = up + tokens * how.mlp;

  normed(x, how.norm, y, tokens, how.width, how.eps);
  few_rows(y, how.q, q, tokens, wide, how.width);
  few_rows(y, how.k, k, tokens, narrow, how.width);
  few_rows(y, how.v, v, tokens, narrow, how.width);
  for (int64_t t = 0; t < tokens; ++t) {
    turned(q + t * wide, how.norm_q, cos + t * e, sin + t * e, how.heads, how);
    turned(k + t * narrow, how.norm_k, cos + t * e, sin + t * e, how.groups, how);
    for (int64_t g = 0; g < how.groups; ++g) {
      const int64_t own = ((t / n) * how.groups + g) * apart + (past + t % n) * e;
      for (int64_t i = 0; i < e; ++i) {
        keys[own + i] = k[t * narrow + g * e + i];
        values[own + i] = v[t * narrow + g * e + i];
      }
    }
  }
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < how.heads; ++h) {
      const int64_t one = (t / n) * how.groups + h / share;
      const float* own = bias ? bias + (one * share * n + (h % share) * n + t % n) * m : nullptr;
      seen(q + t * wide + h * e, keys + one * apart, values + one * apart, own, weights, found + t * wide + h * e, m, e);
    }
  }
  few_rows(found, how.out, y, tokens, how.width, wide);
  for (int64_t i = 0; i < tokens * how.width; ++i) x[i] += y[i];

  normed(x, how.after, y, tokens, how.width, how.eps);
  few_rows(y, how.up, up, tokens, how.mlp, how.width);
  if (how.gate) {
    few_rows(y, how.gate, gate, tokens, how.mlp, how.width);
    for (int64_t i = 0; i < tokens * how.mlp; ++i) up[i] *= gate[i] / (1.0f + std::exp(-gate[i]));
  } else {
    for (int64_t i = 0; i < tokens * how.mlp; ++i) up[i] = up[i] > 0 ? up[i] * up[i] : 0;
  }
  few_rows(up, how.down, y, tokens, how.width, how.mlp);
  for (int64_t i = 0; i < tokens * how.width; ++i) x[i] += y[i];
}
