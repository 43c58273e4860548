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

#ifdef __GNUC__
#define EP_APART __attribute__((noinline)) /* with all registers for itself */
#else
#define EP_APART
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

/* Half of a step of what is shifted right by `shift`. */
static inline int64_t ep_half(uint32_t shift)
{
    return (int64_t)1 << (shift - 1);
}

/* The code of one number and another, each in its own steps. */
static inline uint8_t ep_summed(const ep_rescaling *sum, int32_t number, int32_t other)
{
    const int64_t total = ep_half(32u + sum->right) + (int64_t)(number * (1 << sum->left)) * sum->multiplier
                          + (int64_t)(other * (1 << sum->left)) * sum->other;
    return (uint8_t)ep_bounded(((int32_t)(total >> 32) >> sum->right) + sum->zero, sum->low, sum->high);
}

typedef struct {               /* how the sums of one output channel become codes */
    int64_t half;
    int32_t multiplier;        /* 0: they are the output */
    uint32_t shift;
    int32_t zero, low, high;
    const ep_rescaling *sum;
    uint32_t next;             /* from a place of the output to the next */
    int32_t high_half;         /* quick: of `half`, the upper 32 bits, which are all of it */
    uint32_t right;            /* quick: by what the upper 32 bits are shifted */
    uint32_t quick;            /* sums become codes, nothing is added, and the shift is above 32 */
} ep_scale;

static inline uint8_t ep_quick(const ep_scale *scale, int32_t sum)
{
    const int64_t total = (int64_t)((uint64_t)(uint32_t)scale->high_half << 32) + (int64_t)sum * scale->multiplier;
    return (uint8_t)ep_bounded(((int32_t)(total >> 32) >> scale->right) + scale->zero, scale->low, scale->high);
}

ep_scale ep_scale_of(const ep_conv *layer, uint32_t channel, uint32_t adds);
/* One output, or two, `scale->next` apart. */
void ep_store(const ep_scale *scale, int32_t first, const int32_t *second, const uint8_t *added, void *out, uint32_t place);

/* The sides of a band, in numbers of 16 bits. */
typedef struct {
    uint32_t rows, columns, channels; /* channels: those that one group reads */
    uint32_t row;                     /* numbers of one row */
} ep_band;

ep_band ep_band_of(const ep_window *window, uint32_t groups, uint32_t rows);
/* Positions of a channel's weights in its kernel become offsets in the band, from the place of the first weight on. */
void ep_to_offsets(const ep_window *window, const ep_band *band, uint16_t *positions, uint32_t count);
/* Codes less their zero point, padded, for the output rows from `first` on: every number that these read. */
void ep_fill(const ep_conv *layer, const ep_band *band, const uint8_t *in, uint32_t group, uint32_t first, int16_t *to);

static inline uint32_t ep_least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

#endif
