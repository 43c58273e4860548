/* What integer kernels share: pairs of 16-bit numbers, rounding, and the band of the input that they work on. */
#ifndef EP_INNER_H
#define EP_INNER_H

#include "ep_integer.h"

#if defined(__ARM_FEATURE_DSP) && !defined(EP_PORTABLE)
#include <arm_acle.h>
typedef int16x2_t ep_pair;
static inline ep_pair ep_load(const int16_t *from)
{
    ep_pair pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return pair;
}
#define ep_mac(sum, a, b) __smlad(a, b, sum)
#else
typedef struct {
    int16_t first, second;
} ep_pair;
static inline ep_pair ep_load(const int16_t *from)
{
    const ep_pair pair = {from[0], from[1]};
    return pair;
}
static inline int32_t ep_mac(int32_t sum, ep_pair a, ep_pair b)
{
    return sum + a.first * b.first + a.second * b.second;
}
#endif

#ifdef EP_CLOCK /* to measure what decoding takes of a run; the clock counts down */
uint32_t ep_clock(void);
extern uint32_t ep_decoding;
#define EP_DECODE(call)                        \
    do {                                       \
        const uint32_t ep_start = ep_clock();  \
        call;                                  \
        ep_decoding += ep_start - ep_clock();  \
    } while (0)
#else
#define EP_DECODE(call) call
#endif

static inline int32_t ep_bounded(int32_t code, int32_t low, int32_t high)
{
    return code < low ? low : code > high ? high : code;
}

/* total >> shift, rounded half up; total holds half of a step already. The result is far within 32 bits where shift is
   32 or more; below, it may leave them, and is cut to what no code reaches. */
static inline int32_t ep_shifted(int64_t total, uint32_t shift)
{
    if (shift >= 32) {
        return (int32_t)(total >> 32) >> (shift - 32);
    }
    const int64_t value = total >> shift;
    return value > 0xffff ? 0xffff : value < -0xffff ? -0xffff : (int32_t)value;
}

static inline int64_t ep_half(uint32_t shift)
{
    return (int64_t)1 << (shift - 1);
}

/* The code of one number and another, each in its own steps. */
uint8_t ep_summed(const ep_rescaling *sum, int32_t number, int32_t other);

typedef struct {               /* of one output channel */
    int32_t multiplier;
    uint32_t shift;
    int64_t half;
} ep_scale;

static inline ep_scale ep_scale_of(const ep_conv *layer, uint32_t channel)
{
    ep_scale scale = {0, 0, 0};
    if (layer->multiplier) {
        scale.multiplier = layer->multiplier[channel];
        scale.shift = layer->shift[channel];
        scale.half = ep_half(scale.shift);
    }
    return scale;
}

static inline void ep_store(const ep_conv *layer, const ep_scale *scale, int32_t sum, const uint8_t *added, void *out,
                            uint32_t place)
{
    if (!layer->multiplier) {
        ((int32_t *)out)[place] = sum;
        return;
    }
    const int64_t total = scale->half + (int64_t)sum * scale->multiplier;
    const int32_t code = ep_bounded(ep_shifted(total, scale->shift) + layer->zero, layer->low, layer->high);
    ((uint8_t *)out)[place] =
        added ? ep_summed(layer->sum, code - layer->zero, added[place] - layer->sum->other_zero) : (uint8_t)code;
}

/* The sides of a band, in numbers of 16 bits. */
typedef struct {
    uint32_t rows, columns, channels; /* channels: those that one group reads */
    uint32_t row;                     /* numbers of one row */
} ep_band;

ep_band ep_band_of(const ep_conv *layer);
/* Positions of a channel's weights in its kernel become offsets in the band, from the place of the first weight on. */
void ep_to_offsets(const ep_conv *layer, const ep_band *band, uint16_t *positions, uint32_t count);
/* Codes less their zero point, padded, for the output rows from `first` on: every number that these read. */
void ep_fill(const ep_conv *layer, const ep_band *band, const uint8_t *in, uint32_t group, uint32_t first, int16_t *to);

static inline uint32_t ep_least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

#endif
