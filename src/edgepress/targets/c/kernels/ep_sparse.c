#include "ep_inner.h"

/* One channel at four places at a time, its kept weights alone. */
EP_APART static void rows_of(const ep_conv *layer, const ep_band *band, const int16_t *from, const uint16_t *offsets,
                    const int16_t *values, uint32_t count, uint32_t channel, uint32_t first, uint32_t last,
                    const uint8_t *added, void *out)
{
    const ep_window *const w = &layer->window;
    const uint32_t right = w->stride_width * band->channels;
    const int32_t bias = layer->bias[channel];
    const ep_scale scale = ep_scale_of(layer, channel, added != NULL);
    for (uint32_t y = first; y < last; y++) {
        const int16_t *x = from + (y - first) * w->stride_height * band->row;
        uint32_t place = y * w->out_width * layer->out_channels + channel, column = 0;
        for (; column + 4u <= w->out_width; column += 4, x += 4 * right) {
            const int16_t *const x1 = x + right, *const x2 = x1 + right, *const x3 = x2 + right;
            int32_t a = bias, b = bias, c = bias, d = bias;
            for (uint32_t i = 0; i < count; i++) {
                const uint32_t offset = offsets[i];
                const int32_t value = values[i];
                a += value * x[offset];
                b += value * x1[offset];
                c += value * x2[offset];
                d += value * x3[offset];
            }
            ep_store(&scale, a, &b, added, out, place);
            ep_store(&scale, c, &d, added, out, place + 2u * layer->out_channels);
            place += 4u * layer->out_channels;
        }
        for (; column < w->out_width; column++, x += right, place += layer->out_channels) {
            int32_t sum = bias;
            for (uint32_t i = 0; i < count; i++) {
                sum += values[i] * x[offsets[i]];
            }
            ep_store(&scale, sum, NULL, added, out, place);
        }
    }
}

void ep_conv_sparse(const ep_conv *layer, const uint8_t *in, const uint8_t *added, void *out, void *scratch)
{
    const ep_band band = ep_band_of(&layer->window, layer->groups, layer->rows);
    const uint32_t each = (uint32_t)layer->out_channels / layer->groups;
    uint16_t *const offsets = (uint16_t *)((uint8_t *)scratch + layer->row_at);
    int16_t *const values = (int16_t *)(offsets + layer->weights->length);
    void *const temp = (uint8_t *)scratch + layer->temp_at;
    ep_reader reader;
    for (uint32_t group = 0; group < layer->groups; group++) {
        for (uint32_t first = 0; first < layer->window.out_height; first += layer->rows) {
            const uint32_t last = ep_least(first + layer->rows, layer->window.out_height);
            if (group == 0) {
                ep_open(&reader, layer->weights, temp);
            }
            ep_fill(layer, &band, in, group, first, scratch);
            for (uint32_t channel = group * each; channel < (group + 1) * each; channel++) {
                uint32_t count;
                EP_DECODE(count = ep_kept(&reader, offsets, values, temp));
                EP_DECODE(ep_to_offsets(&layer->window, &band, offsets, count));
                rows_of(layer, &band, scratch, offsets, values, count, channel, first, last, added, out);
            }
        }
    }
}
