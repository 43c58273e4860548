#include "ep_inner.h"

ep_band ep_band_of(const ep_window *w, uint32_t groups, uint32_t rows)
{
    ep_band band;
    band.rows = (rows - 1u) * w->stride_height + (w->kernel_height - 1u) * w->dilation_height + 1u;
    band.columns = (w->out_width - 1u) * w->stride_width + (w->kernel_width - 1u) * w->dilation_width + 1u;
    band.channels = (uint32_t)w->channels / groups;
    band.row = band.columns * band.channels;
    return band;
}

/* Where the weights of a channel, as positions in its kernel, lie in the band, from the place of the first on. */
void ep_to_offsets(const ep_window *w, const ep_band *band, uint16_t *positions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t tap = positions[i] / band->channels, channel = positions[i] - tap * band->channels;
        const uint32_t y = tap / w->kernel_width, x = tap - y * w->kernel_width;
        positions[i] = (uint16_t)(y * w->dilation_height * band->row + x * w->dilation_width * band->channels + channel);
    }
}
