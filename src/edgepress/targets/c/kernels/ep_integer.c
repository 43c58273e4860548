#include "ep_inner.h"

ep_scale ep_scale_of(const ep_conv *layer, uint32_t channel, uint32_t adds)
{
    ep_scale scale = {0, 0, 0, layer->zero, layer->low, layer->high, layer->sum, layer->out_channels, 0, 0, 0};
    if (layer->multiplier) {
        scale.multiplier = layer->multiplier[channel];
        scale.shift = layer->shift[channel];
        scale.half = ep_half(scale.shift);
        if (scale.shift > 32 && !adds) {
            scale.quick = 1;
            scale.high_half = (int32_t)(scale.half >> 32);
            scale.right = scale.shift - 32;
        }
    }
    return scale;
}

static inline int32_t code_of(const ep_scale *scale, int32_t sum)
{
    const int64_t total = scale->half + (int64_t)sum * scale->multiplier;
    int32_t code;
    if (scale->shift >= 32) {
        code = (int32_t)(total >> 32) >> (scale->shift - 32);
    } else { /* it may leave 32 bits */
        const int64_t wide = total >> scale->shift;
        code = wide > 0xffff ? 0xffff : wide < -0xffff ? -0xffff : (int32_t)wide;
    }
    return ep_bounded(code + scale->zero, scale->low, scale->high);
}

EP_APART void ep_store(const ep_scale *scale, int32_t first, const int32_t *second, const uint8_t *added, void *out,
                       uint32_t place)
{
    const uint32_t other = place + scale->next;
    if (!scale->shift) {
        ((int32_t *)out)[place] = first;
        if (second) {
            ((int32_t *)out)[other] = *second;
        }
        return;
    }
    const ep_scale own = *scale;
    uint8_t *const codes = out;
    int32_t code = code_of(&own, first);
    if (!added) {
        codes[place] = (uint8_t)code;
        if (second) {
            codes[other] = (uint8_t)code_of(&own, *second);
        }
        return;
    }
    const ep_rescaling sum = *own.sum;
    codes[place] = ep_summed(&sum, code - own.zero, added[place] - sum.other_zero);
    if (second) {
        code = code_of(&own, *second);
        codes[other] = ep_summed(&sum, code - own.zero, added[other] - sum.other_zero);
    }
}

void ep_fill(const ep_conv *layer, const ep_band *band, const uint8_t *in, uint32_t group, uint32_t first, int16_t *to)
{
    const ep_window *const w = &layer->window;
    const int32_t zero = layer->in_zero, channels = (int32_t)band->channels;
    const int32_t before = w->left, inside = (int32_t)ep_least(w->width, band->columns > w->left ? band->columns - w->left : 0);
    const uint32_t skip = (uint32_t)w->channels - band->channels;
    for (uint32_t y = 0; y < band->rows; y++) {
        const int32_t row = (int32_t)(first * w->stride_height + y) - w->top;
        int16_t *const end = to + band->row;
        if (row >= 0 && row < w->height) {
            const uint8_t *from = in + (uint32_t)row * w->width * w->channels + group * band->channels;
            for (int32_t i = ep_bounded(before * channels, 0, (int32_t)band->row); i > 0; i--) {
                *to++ = 0;
            }
            if (!skip) {
                int32_t i = inside * channels;
                for (; i >= 4; i -= 4, from += 4, to += 4) {
                    to[0] = (int16_t)(from[0] - zero);
                    to[1] = (int16_t)(from[1] - zero);
                    to[2] = (int16_t)(from[2] - zero);
                    to[3] = (int16_t)(from[3] - zero);
                }
                for (; i > 0; i--) {
                    *to++ = (int16_t)(*from++ - zero);
                }
            } else if (channels == 1) {
                for (int32_t x = inside; x > 0; x--, from += w->channels) {
                    *to++ = (int16_t)(*from - zero);
                }
            } else {
                for (int32_t x = inside; x > 0; x--, from += skip) {
                    for (int32_t c = channels; c > 0; c--) {
                        *to++ = (int16_t)(*from++ - zero);
                    }
                }
            }
        }
        while (to < end) {
            *to++ = 0;
        }
    }
}

/* What one place of the output reads of the band: `parts` times `numbers` in a row, in each of `rows` rows. */
typedef struct {
    uint32_t rows, parts, numbers;
    uint32_t part, row;            /* from the end of a part, or of a row, to the beginning of the next */
    uint32_t plain;                /* one part a row, of a multiple of 16 numbers */
} reach;

/* Two channels at two places: v and w are their weights, x and y what lies there. */
EP_APART static void two_by_two(const reach *r, const int16_t *v, const int16_t *w, const int16_t *x, const int16_t *y,
                       int32_t *sums)
{
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
#define PAIR(i)                                                      \
    {                                                                \
        const ep_pair p = ep_load(v + (i)), q = ep_load(w + (i));    \
        const ep_pair s = ep_load(x + (i)), t = ep_load(y + (i));    \
        a = ep_mac(a, p, s);                                         \
        b = ep_mac(b, p, t);                                         \
        c = ep_mac(c, q, s);                                         \
        d = ep_mac(d, q, t);                                         \
    }
#define SIXTEEN PAIR(0) PAIR(2) PAIR(4) PAIR(6) PAIR(8) PAIR(10) PAIR(12) PAIR(14)
    if (r->plain) {
        for (uint32_t row = r->rows; row; row--, x += r->row, y += r->row) {
            const int16_t *const end = v + r->numbers;
            do {
                SIXTEEN
                v += 16, w += 16, x += 16, y += 16;
            } while (v < end);
        }
    } else {
        for (uint32_t row = r->rows; row; row--, x += r->row, y += r->row) {
            for (uint32_t part = r->parts; part; part--, x += r->part, y += r->part) {
                const int16_t *end = v + (r->numbers & ~15u);
                for (; v < end; v += 16, w += 16, x += 16, y += 16) {
                    SIXTEEN
                }
                for (end = v + (r->numbers & 14u); v < end; v += 2, w += 2, x += 2, y += 2) {
                    PAIR(0)
                }
                if (r->numbers & 1u) {
                    const int32_t p = *v++, q = *w++, s = *x++, t = *y++;
                    a += p * s;
                    b += p * t;
                    c += q * s;
                    d += q * t;
                }
            }
        }
    }
#undef SIXTEEN
#undef PAIR
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

/* Two channels at one place. */
EP_APART static void two_by_one(const reach *r, const int16_t *v, const int16_t *w, const int16_t *x, int32_t *sums)
{
    int32_t a = sums[0], c = sums[2];
    for (uint32_t row = r->rows; row; row--, x += r->row) {
        for (uint32_t part = r->parts; part; part--, x += r->part) {
            uint32_t n = r->numbers;
            for (; n >= 4; n -= 4, v += 4, w += 4, x += 4) {
                const ep_pair s = ep_load(x), t = ep_load(x + 2);
                a = ep_mac(ep_mac(a, ep_load(v), s), ep_load(v + 2), t);
                c = ep_mac(ep_mac(c, ep_load(w), s), ep_load(w + 2), t);
            }
            for (; n; n--, v++, w++, x++) {
                a += *v * *x;
                c += *w * *x;
            }
        }
    }
    sums[0] = a;
    sums[2] = c;
}

static reach reach_of(const ep_conv *layer, const ep_band *band)
{
    const ep_window *const w = &layer->window;
    reach r;
    r.rows = w->kernel_height;
    r.parts = w->dilation_width > 1 ? w->kernel_width : 1u;
    r.numbers = w->kernel_width / r.parts * band->channels;
    r.part = r.parts > 1 ? (w->dilation_width - 1u) * band->channels : 0u;
    r.plain = r.parts == 1 && r.numbers % 16 == 0;
    r.row = w->dilation_height * band->row - r.parts * (r.numbers + r.part);
    return r;
}

/* The output rows from `first` on of one channel, or of two. */
EP_APART static void rows_of(const ep_conv *layer, const ep_band *band, const int16_t *from, const int16_t *weights,
                    uint32_t channel, uint32_t two, uint32_t first, uint32_t last, const uint8_t *added, void *out)
{
    const ep_window *const window = &layer->window;
    const uint32_t right = window->stride_width * band->channels;
    const int16_t *const others = weights + (two ? layer->weights->length : 0u);
    const int32_t bias = layer->bias[channel], other = layer->bias[channel + two];
    const ep_scale scale = ep_scale_of(layer, channel, added != NULL);
    const ep_scale other_scale = ep_scale_of(layer, channel + two, added != NULL);
    const uint32_t next = layer->out_channels;
    const reach r = reach_of(layer, band);
    for (uint32_t y = first; y < last; y++) {
        const int16_t *x = from + (y - first) * window->stride_height * band->row;
        uint32_t place = y * window->out_width * layer->out_channels + channel;
        for (uint32_t left = window->out_width; left;) {
            int32_t sums[4] = {bias, bias, other, other};
            const uint32_t pair = left > 1;
            if (pair) {
                two_by_two(&r, weights, others, x, x + right, sums);
            } else {
                two_by_one(&r, weights, others, x, sums);
            }
            if (scale.quick && other_scale.quick && two && pair) {
                uint8_t *const to = (uint8_t *)out + place, *const beside = to + next;
                to[0] = ep_quick(&scale, sums[0]);
                beside[0] = ep_quick(&scale, sums[1]);
                to[1] = ep_quick(&other_scale, sums[2]);
                beside[1] = ep_quick(&other_scale, sums[3]);
            } else {
                ep_store(&scale, sums[0], pair ? sums + 1 : NULL, added, out, place);
                if (two) {
                    ep_store(&other_scale, sums[2], pair ? sums + 3 : NULL, added, out, place + 1);
                }
            }
            x += right + (pair ? right : 0);
            place += pair ? 2 * next : next;
            left -= 1u + pair;
        }
    }
}

void ep_conv_dense(const ep_conv *layer, const uint8_t *in, const uint8_t *added, void *out, void *scratch)
{
    const ep_band band = ep_band_of(&layer->window, layer->groups, layer->rows);
    const uint32_t each = (uint32_t)layer->out_channels / layer->groups;
    int16_t *const weights = (int16_t *)((uint8_t *)scratch + layer->row_at);
    void *const temp = (uint8_t *)scratch + layer->temp_at;
    ep_reader reader;
    for (uint32_t group = 0; group < layer->groups; group++) {
        for (uint32_t first = 0; first < layer->window.out_height; first += layer->rows) {
            const uint32_t last = ep_least(first + layer->rows, layer->window.out_height);
            if (group == 0) {
                ep_open(&reader, layer->weights, temp);
            }
            ep_fill(layer, &band, in, group, first, scratch);
            for (uint32_t channel = 0; channel < each; channel += 2) {
                const uint32_t two = channel + 1u < each;
                EP_DECODE(ep_row(&reader, weights, temp));
                if (two) {
                    EP_DECODE(ep_row(&reader, weights + layer->weights->length, temp));
                }
                rows_of(layer, &band, scratch, weights, group * each + channel, two, first, last, added, out);
            }
        }
    }
}

void ep_add(const ep_rescaling *sum, const uint8_t *a, const uint8_t *b, uint8_t *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = ep_summed(sum, a[i] - sum->one_zero, b ? b[i] - sum->other_zero : 0);
    }
}

void ep_max_pool(const ep_window *w, const uint8_t *in, uint8_t *out)
{
    for (int32_t y = 0; y < w->out_height; y++) {
        for (int32_t x = 0; x < w->out_width; x++) {
            const int32_t up = y * w->stride_height - w->top, left = x * w->stride_width - w->left;
            for (uint32_t c = 0; c < w->channels; c++) {
                uint8_t most = 0;
                for (int32_t i = up < 0 ? 0 : up; i < up + w->kernel_height && i < w->height; i++) {
                    for (int32_t j = left < 0 ? 0 : left; j < left + w->kernel_width && j < w->width; j++) {
                        const uint8_t code = in[((uint32_t)i * w->width + (uint32_t)j) * w->channels + c];
                        most = code > most ? code : most;
                    }
                }
                *out++ = most;
            }
        }
    }
}

void ep_average(const ep_window *w, int16_t in_zero, const ep_rescaling *sum, const uint8_t *in, void *out)
{
    const int32_t zeros = in_zero * w->kernel_height * w->kernel_width;
    uint32_t place = 0;
    for (uint32_t y = 0; y < w->out_height; y++) {
        for (uint32_t x = 0; x < w->out_width; x++) {
            for (uint32_t c = 0; c < w->channels; c++, place++) {
                int32_t total = -zeros;
                for (uint32_t i = 0; i < w->kernel_height; i++) {
                    const uint32_t row = (y * w->kernel_height + i) * w->width + x * w->kernel_width;
                    const uint8_t *from = in + row * w->channels + c;
                    for (uint32_t j = 0; j < w->kernel_width; j++, from += w->channels) {
                        total += *from;
                    }
                }
                if (sum) {
                    ((uint8_t *)out)[place] = ep_summed(sum, total, 0);
                } else {
                    ((int32_t *)out)[place] = total;
                }
            }
        }
    }
}
