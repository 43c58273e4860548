/* Weights in the codes in which they are stored, read one output channel after the other. */
#ifndef EP_WEIGHTS_H
#define EP_WEIGHTS_H

#include <stdint.h>
#include <stddef.h>

/* Three bytes follow each array of codes, so that a word may be read at its end. */
typedef struct ep_weights ep_weights;
typedef struct ep_reader ep_reader;

struct ep_weights {
    const uint8_t *codes;      /* each channel from a byte on; of Huffman's code, one deflate stream */
    const uint8_t *mask;       /* which weights are kept; the others are 0 */
    const int8_t *table;       /* the value of each code; NULL: a value is code + lowest */
    const int8_t *lowests;     /* the lowest value of each channel; NULL: `lowest` for all */
    const uint8_t *points;     /* multi-point: points of each channel; NULL: one */
    const int32_t *factors;    /* and what each multiplies its level by, in 1/65536; NULL: floats multiply */
    void (*unpack)(ep_reader *, int16_t *values, uint32_t count);
    uint32_t (*positions)(ep_reader *, uint16_t *positions); /* NULL: every weight is kept */
    uint16_t length;           /* weights of a channel */
    uint16_t table_step;       /* from the table of a channel to the next; 0: one for all */
    int16_t lowest;
    uint8_t mask_width;        /* bits of a gap, or the N of N in 4 */
    uint8_t inflates;          /* 1: codes are Huffman's */
    uint32_t kept, first;      /* gaps: the number of kept weights, and the position of the first */
};

typedef struct {               /* the state of an inflater of literals, RFC 1951 */
    const uint8_t *next;
    uint32_t window;
    uint16_t stored;
    uint16_t counts[16];
    uint16_t symbols[288];
    uint8_t lengths[320];
    uint8_t have;
    uint8_t state;
} ep_inflater;

#define EP_INFLATER 944        /* bytes that network.c reserves for it */
typedef char ep_inflater_fits[sizeof(ep_inflater) <= EP_INFLATER ? 1 : -1];

struct ep_reader {
    const ep_weights *weights;
    const uint8_t *codes;      /* what is read next */
    const uint8_t *mask;
    const int8_t *table;
    const int32_t *factors;
    ep_inflater *inflater;
    uint32_t mask_bit;
    uint32_t left, next;       /* gaps: kept weights to come, and the position of the next, from this channel on */
    uint32_t channel;
    int16_t lowest;
};

/* Begin at the first channel; `temp` is aligned to 4 bytes and has the room that network.c says. */
void ep_open(ep_reader *reader, const ep_weights *weights, void *temp);
/* The next channel: all weights of it, zeros included. */
void ep_row(ep_reader *reader, int16_t *row, void *temp);
/* The next channel: its kept weights alone, and where they are; returns how many. */
uint32_t ep_kept(ep_reader *reader, uint16_t *positions, int16_t *values, void *temp);
/* Step to the next channel, its codes having been read by `unpack`. */
void ep_next_channel(ep_reader *reader);

void ep_fixed_1(ep_reader *, int16_t *, uint32_t);
void ep_fixed_2(ep_reader *, int16_t *, uint32_t);
void ep_fixed_3(ep_reader *, int16_t *, uint32_t);
void ep_fixed_4(ep_reader *, int16_t *, uint32_t);
void ep_fixed_5(ep_reader *, int16_t *, uint32_t);
void ep_fixed_6(ep_reader *, int16_t *, uint32_t);
void ep_fixed_7(ep_reader *, int16_t *, uint32_t);
void ep_fixed_8(ep_reader *, int16_t *, uint32_t);
void ep_huffman(ep_reader *, int16_t *, uint32_t);
uint32_t ep_bitmap(ep_reader *, uint16_t *);
uint32_t ep_gaps(ep_reader *, uint16_t *);
uint32_t ep_n_of_4(ep_reader *, uint16_t *);

#endif
