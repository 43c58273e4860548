#include "ep_inner.h"

/* 3×3 kernels of one input channel: the nine weights stay in registers. */
void ep_conv_depthwise(const ep_conv *layer, const uint8_t *in, const uint8_t *added, void *out, void *scratch)
{
    const ep_band band = ep_band_of(&layer->window, layer->groups, layer->rows);
    const ep_window *const w = &layer->window;
    const uint32_t each = (uint32_t)layer->out_channels / layer->groups;
    int16_t *const weights = (int16_t *)((uint8_t *)scratch + layer->row_at);
    void *const temp = (uint8_t *)scratch + layer->temp_at;
    ep_reader reader;
    ep_open(&reader, layer->weights, temp);
    for (uint32_t channel = 0; channel < layer->out_channels; channel++) {
        if (channel % each == 0) {
            ep_fill(layer, &band, in, channel / each, 0, scratch);
        }
        EP_DECODE(ep_row(&reader, weights, temp));
        const ep_pair a = ep_load(weights), b = ep_load(weights + 3), c = ep_load(weights + 6);
        const int32_t d = weights[2], e = weights[5], f = weights[8], bias = layer->bias[channel];
        const ep_scale scale = ep_scale_of(layer, channel, added != NULL);
        const uint32_t right = w->stride_width, next = layer->out_channels;
        uint32_t place = channel;
        for (uint32_t y = 0; y < w->out_height; y++) {
            const int16_t *x = (const int16_t *)scratch + y * w->stride_height * band.row;
            const int16_t *middle = x + band.row, *below = middle + band.row;
            for (uint32_t column = w->out_width; column; column--) {
                int32_t sum = ep_mac(bias, a, ep_load(x));
                sum = ep_mac(sum, b, ep_load(middle));
                sum = ep_mac(sum, c, ep_load(below));
                sum += d * x[2] + e * middle[2] + f * below[2];
                if (scale.quick) {
                    ((uint8_t *)out)[place] = ep_quick(&scale, sum);
                } else {
                    ep_store(&scale, sum, NULL, added, out, place);
                }
                x += right;
                middle += right;
                below += right;
                place += next;
            }
        }
    }
}
