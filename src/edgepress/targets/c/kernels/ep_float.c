#include "ep_float.h"
#include "ep_inner.h"

typedef struct {
    ep_reader reader;
    const ep_floats *weights;
    const float *numbers;
    float *table;
    uint32_t channel;
} float_reader;

static float rectified(float value, float ceiling)
{
    if (ceiling < 0.0f) {
        return value;
    }
    return value < 0.0f ? 0.0f : value > ceiling ? ceiling : value;
}

/* The float of each code of a channel. */
static void fill_table(float_reader *reader)
{
    const ep_floats *const w = reader->weights;
    const float *const numbers = w->numbers + (uint32_t)w->step * reader->channel;
    const int32_t half = (int32_t)1 << (w->bits - 1);
    for (int32_t code = 0; code < 2 * half; code++) {
        float value;
        if (w->kind == EP_SYMMETRIC) {
            value = (float)(code - half) * numbers[0];
        } else if (w->kind == EP_GRID) {
            value = numbers[1] * (float)code + numbers[0];
        } else {
            value = numbers[code];
        }
        reader->table[code] = w->factors ? value * w->factors[reader->channel] : value;
    }
}

static void begin(float_reader *reader, const ep_floats *weights, float *table, void *temp)
{
    reader->weights = weights;
    reader->numbers = weights->numbers;
    reader->table = table;
    reader->channel = 0;
    if (weights->codes) {
        ep_open(&reader->reader, weights->codes, temp);
    }
}

/* The kept weights of the next channel, as floats. */
static void read_floats(float_reader *reader, float *values, uint32_t count, void *temp)
{
    const ep_floats *const w = reader->weights;
    int16_t *const codes = temp;
    if (w->kind == EP_RAW) {
        for (uint32_t i = 0; i < count; i++) {
            values[i] = *reader->numbers++;
        }
    } else if (w->kind == EP_POINTS) {
        for (uint32_t i = 0; i < count; i++) {
            values[i] = 0.0f;
        }
        for (uint32_t point = w->codes->points[reader->channel]; point; point--) {
            const float step = *reader->numbers++;
            w->codes->unpack(&reader->reader, codes, count);
            for (uint32_t i = 0; i < count; i++) {
                values[i] += (float)codes[i] * step;
            }
        }
        for (uint32_t i = 0; w->factors && i < count; i++) {
            values[i] *= w->factors[reader->channel];
        }
    } else {
        if (reader->channel == 0 || w->step || w->factors) {
            fill_table(reader);
        }
        w->codes->unpack(&reader->reader, codes, count);
        for (uint32_t i = 0; i < count; i++) {
            values[i] = reader->table[codes[i]];
        }
    }
    reader->channel++;
    ep_next_channel(&reader->reader);
}

static void *after(const float_reader *reader, void *temp)
{
    return reader->weights->codes->inflates ? (void *)((uint8_t *)temp + EP_INFLATER) : temp;
}

static uint32_t read_kept(float_reader *reader, uint16_t *positions, float *values, void *temp)
{
    const uint32_t count = reader->weights->codes->positions(&reader->reader, positions);
    read_floats(reader, values, count, after(reader, temp));
    return count;
}

/* The next channel, zeros included: in `row`, or where it lies in flash. */
static const float *read_row(float_reader *reader, float *row, uint32_t length, void *temp)
{
    const ep_weights *const codes = reader->weights->codes;
    if (!codes) {
        const float *const there = reader->numbers;
        reader->numbers += length;
        return there;
    }
    if (!codes->positions) {
        read_floats(reader, row, length, after(reader, temp));
        return row;
    }
    /* The kept weights are read to the front, and go to their places from the last one on. */
    uint16_t *const positions = after(reader, temp);
    uint32_t count = codes->positions(&reader->reader, positions);
    read_floats(reader, row, count, positions + 2 * length);
    for (uint32_t i = length; i > 0; i--) {
        row[i - 1] = count && positions[count - 1] == i - 1 ? row[--count] : 0.0f;
    }
    return row;
}

static void fill(const ep_float_conv *layer, const ep_band *band, const float *in, uint32_t group, uint32_t first, float *to)
{
    const ep_window *const w = &layer->window;
    const uint32_t skip = (uint32_t)w->channels - band->channels;
    for (uint32_t y = 0; y < band->rows; y++) {
        const int32_t row = (int32_t)(first * w->stride_height + y) - w->top;
        for (uint32_t x = 0; x < band->columns; x++) {
            const int32_t column = (int32_t)x - w->left;
            const uint32_t inside = row >= 0 && row < w->height && column >= 0 && column < w->width;
            const float *from = in;
            if (inside) {
                from += ((uint32_t)row * w->width + (uint32_t)column) * (band->channels + skip) + group * band->channels;
            }
            for (uint32_t c = 0; c < band->channels; c++) {
                *to++ = inside ? from[c] : 0.0f;
            }
        }
    }
}

static void store(const ep_float_conv *layer, float sum, const float *added, float *out, uint32_t place)
{
    const float value = rectified(sum, added ? layer->inner_ceiling : layer->ceiling);
    out[place] = added ? rectified(value + added[place], layer->ceiling) : value;
}

static void dense_rows(const ep_float_conv *layer, const ep_band *band, const float *from, const float *v, const float *w,
                       uint32_t channel, uint32_t two, uint32_t first, uint32_t last, const float *added, float *out)
{
    const ep_window *const sides = &layer->window;
    const uint32_t right = sides->stride_width * band->channels;
    const float bias = layer->bias[channel], other = layer->bias[channel + two];
    for (uint32_t y = first; y < last; y++) {
        const float *at = from + (y - first) * sides->stride_height * band->row;
        uint32_t place = y * sides->out_width * layer->out_channels + channel;
        for (uint32_t column = 0; column < sides->out_width; column += 2, at += 2 * right) {
            const uint32_t pair = column + 1u < sides->out_width, beside = pair ? right : 0;
            float a = bias, b = bias, c = other, d = other;
            uint32_t k = 0;
            for (uint32_t ky = 0; ky < sides->kernel_height; ky++) {
                for (uint32_t kx = 0; kx < sides->kernel_width; kx++) {
                    const float *x = at + ky * sides->dilation_height * band->row
                                     + kx * sides->dilation_width * band->channels;
                    for (uint32_t i = 0; i < band->channels; i++, k++, x++) {
                        const float p = v[k], q = w[k], s = x[0], t = x[beside];
                        a += p * s;
                        b += p * t;
                        c += q * s;
                        d += q * t;
                    }
                }
            }
            store(layer, a, added, out, place);
            if (two) {
                store(layer, c, added, out, place + 1);
            }
            if (pair) {
                place += layer->out_channels;
                store(layer, b, added, out, place);
                if (two) {
                    store(layer, d, added, out, place + 1);
                }
            }
            place += layer->out_channels;
        }
    }
}

void ep_float_dense(const ep_float_conv *layer, const float *in, const float *added, float *out, void *scratch)
{
    const ep_band band = ep_band_of(&layer->window, layer->groups, layer->rows);
    const uint32_t each = (uint32_t)layer->out_channels / layer->groups;
    float *const rows = (float *)((uint8_t *)scratch + layer->row_at);
    void *const temp = (uint8_t *)scratch + layer->temp_at;
    float_reader reader;
    for (uint32_t group = 0; group < layer->groups; group++) {
        for (uint32_t first = 0; first < layer->window.out_height; first += layer->rows) {
            const uint32_t last = ep_least(first + layer->rows, layer->window.out_height);
            if (group == 0) {
                begin(&reader, layer->weights, (float *)((uint8_t *)scratch + layer->table_at), temp);
            }
            fill(layer, &band, in, group, first, scratch);
            for (uint32_t channel = 0; channel < each; channel += 2) {
                const uint32_t two = channel + 1u < each;
                const float *v, *w;
                EP_DECODE(v = w = read_row(&reader, rows, layer->length, temp));
                if (two) {
                    EP_DECODE(w = read_row(&reader, rows + layer->length, layer->length, temp));
                }
                dense_rows(layer, &band, scratch, v, w, group * each + channel, two, first, last, added, out);
            }
        }
    }
}

void ep_float_sparse(const ep_float_conv *layer, const float *in, const float *added, float *out, void *scratch)
{
    const ep_window *const sides = &layer->window;
    const ep_band band = ep_band_of(sides, layer->groups, layer->rows);
    const uint32_t each = (uint32_t)layer->out_channels / layer->groups;
    float *const values = (float *)((uint8_t *)scratch + layer->row_at);
    uint16_t *const offsets = (uint16_t *)(values + layer->length);
    void *const temp = (uint8_t *)scratch + layer->temp_at;
    float_reader reader;
    for (uint32_t group = 0; group < layer->groups; group++) {
        for (uint32_t first = 0; first < sides->out_height; first += layer->rows) {
            const uint32_t last = ep_least(first + layer->rows, sides->out_height);
            if (group == 0) {
                begin(&reader, layer->weights, (float *)((uint8_t *)scratch + layer->table_at), temp);
            }
            fill(layer, &band, in, group, first, scratch);
            for (uint32_t channel = group * each; channel < (group + 1) * each; channel++) {
                uint32_t count;
                EP_DECODE(count = read_kept(&reader, offsets, values, temp));
                ep_to_offsets(sides, &band, offsets, count);
                for (uint32_t y = first; y < last; y++) {
                    const float *x = (const float *)scratch + (y - first) * sides->stride_height * band.row;
                    for (uint32_t column = 0; column < sides->out_width; column++) {
                        float sum = layer->bias[channel];
                        for (uint32_t i = 0; i < count; i++) {
                            sum += values[i] * x[offsets[i]];
                        }
                        store(layer, sum, added, out, (y * sides->out_width + column) * layer->out_channels + channel);
                        x += sides->stride_width * band.channels;
                    }
                }
            }
        }
    }
}

void ep_float_add(const float *a, const float *b, float ceiling, float *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = rectified(b ? a[i] + b[i] : a[i], ceiling);
    }
}

void ep_float_max_pool(const ep_window *w, const float *in, float *out)
{
    for (int32_t y = 0; y < w->out_height; y++) {
        for (int32_t x = 0; x < w->out_width; x++) {
            const int32_t up = y * w->stride_height - w->top, left = x * w->stride_width - w->left;
            const int32_t i0 = up < 0 ? 0 : up, j0 = left < 0 ? 0 : left;
            for (uint32_t c = 0; c < w->channels; c++) {
                float most = in[((uint32_t)i0 * w->width + (uint32_t)j0) * w->channels + c];
                for (int32_t i = i0; i < up + w->kernel_height && i < w->height; i++) {
                    for (int32_t j = j0; j < left + w->kernel_width && j < w->width; j++) {
                        const float value = in[((uint32_t)i * w->width + (uint32_t)j) * w->channels + c];
                        most = value > most ? value : most;
                    }
                }
                *out++ = most;
            }
        }
    }
}

void ep_float_average(const ep_window *w, float ceiling, const float *in, float *out)
{
    const float entries = (float)(w->kernel_height * w->kernel_width);
    for (uint32_t y = 0; y < w->out_height; y++) {
        for (uint32_t x = 0; x < w->out_width; x++) {
            for (uint32_t c = 0; c < w->channels; c++) {
                float total = 0.0f;
                for (uint32_t i = 0; i < w->kernel_height; i++) {
                    const uint32_t row = (y * w->kernel_height + i) * w->width + x * w->kernel_width;
                    for (uint32_t j = 0; j < w->kernel_width; j++) {
                        total += in[(row + j) * w->channels + c];
                    }
                }
                *out++ = rectified(total / entries, ceiling);
            }
        }
    }
}
