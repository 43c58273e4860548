/* Layers in float32, channels innermost, weights in their codes. Sums go through a kernel in the order (height, width,
   input channel), from the bias on, and no product is fused with its sum: the same bits on every machine. */
#ifndef EP_FLOAT_H
#define EP_FLOAT_H

#include "ep_integer.h"

enum { EP_RAW, EP_SYMMETRIC, EP_GRID, EP_TABLE, EP_POINTS };

typedef struct {
    const ep_weights *codes;   /* and masks; NULL: all floats lie in `numbers`, in order */
    const float *numbers;      /* EP_RAW: floats; EP_SYMMETRIC: a step; EP_GRID: offset and step; EP_TABLE: levels;
                                  EP_POINTS: the step of each point */
    const float *factors;      /* of each channel; NULL: 1 */
    uint16_t step;             /* from the numbers of a channel to those of the next; 0: the same for all */
    uint8_t kind, bits;
} ep_floats;

typedef struct {
    ep_window window;
    const ep_floats *weights;
    const float *bias;
    uint16_t out_channels, groups, rows, length;
    uint32_t row_at, table_at, temp_at;
    float inner_ceiling, ceiling; /* negative: not rectified; `inner` before anything is added */
} ep_float_conv;

void ep_float_dense(const ep_float_conv *layer, const float *in, const float *added, float *out, void *scratch);
void ep_float_sparse(const ep_float_conv *layer, const float *in, const float *added, float *out, void *scratch);
void ep_float_add(const float *a, const float *b, float ceiling, float *out, uint32_t count);
void ep_float_max_pool(const ep_window *window, const float *in, float *out);
void ep_float_average(const ep_window *window, float ceiling, const float *in, float *out);

#endif
