/* Codes by Huffman's code: a deflate stream of literals alone (RFC 1951). */
#include "ep_weights.h"

enum { HEADER, STORED, CODED };

static uint32_t take(ep_inflater *state, uint32_t width)
{
    while (state->have < width) {
        state->window |= (uint32_t)*state->next++ << state->have;
        state->have = (uint8_t)(state->have + 8);
    }
    const uint32_t bits = state->window & ((1u << width) - 1u);
    state->window >>= width;
    state->have = (uint8_t)(state->have - width);
    return bits;
}

/* The code in which symbol s has lengths[s] bits, 0 for none. */
static void build(ep_inflater *state, const uint8_t *lengths, uint32_t symbols)
{
    uint16_t places[16];
    for (uint32_t i = 0; i < 16; i++) {
        state->counts[i] = 0;
    }
    for (uint32_t i = 0; i < symbols; i++) {
        state->counts[lengths[i]]++;
    }
    places[1] = 0;
    for (uint32_t i = 1; i < 15; i++) {
        places[i + 1] = (uint16_t)(places[i] + state->counts[i]);
    }
    for (uint32_t i = 0; i < symbols; i++) {
        if (lengths[i]) {
            state->symbols[places[lengths[i]]++] = (uint16_t)i;
        }
    }
}

static uint32_t symbol(ep_inflater *state)
{
    uint32_t code = 0, first = 0, index = 0;
    for (uint32_t length = 1; length < 16; length++) {
        const uint32_t count = state->counts[length];
        code |= take(state, 1);
        if (code < first + count) {
            return state->symbols[index + code - first];
        }
        index += count;
        first = (first + count) << 1;
        code <<= 1;
    }
    return 0; /* in no stream that was written whole */
}

static void read_lengths(ep_inflater *state)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const uint32_t literals = take(state, 5) + 257, distances = take(state, 5) + 1, codes = take(state, 4) + 4;
    uint32_t i;
    for (i = 0; i < 19; i++) {
        state->lengths[order[i]] = (uint8_t)(i < codes ? take(state, 3) : 0u);
    }
    build(state, state->lengths, 19);
    for (i = 0; i < literals + distances;) {
        const uint32_t found = symbol(state);
        uint32_t repeat = 1;
        uint8_t length = (uint8_t)found;
        if (found == 16) {
            length = state->lengths[i - 1];
            repeat = 3 + take(state, 2);
        } else if (found > 16) {
            length = 0;
            repeat = found == 17 ? 3 + take(state, 3) : 11 + take(state, 7);
        }
        while (repeat--) {
            state->lengths[i++] = length;
        }
    }
    build(state, state->lengths, literals);
}

static void begin_block(ep_inflater *state)
{
    (void)take(state, 1); /* whether it is the last: the number of codes says that, too */
    switch (take(state, 2)) {
    case 0:
        (void)take(state, state->have & 7u);
        state->stored = (uint16_t)take(state, 16);
        (void)take(state, 16);
        state->state = STORED;
        return;
    case 1:
        for (uint32_t i = 0; i < 288; i++) {
            state->lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
        }
        build(state, state->lengths, 288);
        break;
    default:
        read_lengths(state);
    }
    state->state = CODED;
}

static uint32_t literal(ep_inflater *state)
{
    for (;;) {
        if (state->state == CODED) {
            const uint32_t found = symbol(state);
            if (found < 256) {
                return found;
            }
        } else if (state->state == STORED && state->stored) {
            state->stored--;
            return take(state, 8);
        }
        begin_block(state);
    }
}

void ep_huffman(ep_reader *reader, int16_t *values, uint32_t count)
{
    ep_inflater *const state = reader->inflater;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t code = literal(state);
        values[i] = (int16_t)(reader->table ? reader->table[code] : (int32_t)code + reader->lowest);
    }
}
