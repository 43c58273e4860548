/* Layers in integers. Activations are codes of a byte, channels innermost; accumulators have 32 bits. */
#ifndef EP_INTEGER_H
#define EP_INTEGER_H

#include "ep_weights.h"

typedef struct {               /* an image and the windows on it */
    uint16_t height, width, channels;
    uint16_t out_height, out_width;
    uint16_t kernel_height, kernel_width;
    uint16_t stride_height, stride_width;
    uint16_t dilation_height, dilation_width;
    uint16_t top, left;        /* padding */
} ep_window;

typedef struct {               /* numbers to codes: Σ (number << left) · multiplier, rounded, >> 32 + right, + zero, bounded */
    int32_t multiplier, other; /* of the one term, and of what is added */
    int16_t one_zero, other_zero; /* the zero points of both terms, as codes */
    int16_t zero, low, high;
    uint8_t left, right;
} ep_rescaling;

typedef struct {
    ep_window window;
    const ep_weights *weights;
    const int32_t *bias;       /* of each output channel */
    const int32_t *multiplier; /* NULL: the accumulators are the output */
    const uint8_t *shift;
    const ep_rescaling *sum;   /* with what is added; NULL: nothing is */
    uint16_t out_channels, groups;
    uint16_t rows;             /* of the output, at a time */
    int16_t in_zero;
    int16_t zero, low, high;   /* of the codes that the layer gives */
    uint32_t row_at, temp_at;  /* in bytes: where decoded weights, and what decoding needs, lie in the scratch */
} ep_conv;

/* A Conv or Linear layer; `added` is what is added to it, `out` codes or accumulators. `scratch` is aligned to 4 bytes.
   ep_conv_dense takes any layer, ep_conv_depthwise 3×3 kernels of one input channel, ep_conv_sparse skips zeros. */
void ep_conv_dense(const ep_conv *layer, const uint8_t *in, const uint8_t *added, void *out, void *scratch);
void ep_conv_depthwise(const ep_conv *layer, const uint8_t *in, const uint8_t *added, void *out, void *scratch);
void ep_conv_sparse(const ep_conv *layer, const uint8_t *in, const uint8_t *added, void *out, void *scratch);

/* The sum of two values, or one value on another grid where `b` is NULL. */
void ep_add(const ep_rescaling *sum, const uint8_t *a, const uint8_t *b, uint8_t *out, uint32_t count);
void ep_max_pool(const ep_window *window, const uint8_t *in, uint8_t *out);
/* Means of windows that do not overlap; `sum` NULL: their sums, int32, are the output. */
void ep_average(const ep_window *window, int16_t in_zero, const ep_rescaling *sum, const uint8_t *in, void *out);

#endif
