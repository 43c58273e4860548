#include "ep_weights.h"

/* 32 bits from any byte on, little-endian. */
static inline uint32_t word(const uint8_t *from)
{
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && \
    (defined(__ARM_FEATURE_UNALIGNED) || defined(__x86_64__) || defined(__aarch64__))
    uint32_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    return bits;
#else
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
#endif
}

/* Eight codes of B bits are B bytes. The first four begin with the first byte, the others in the middle. */
#define LOW(B) word(p)
#define HIGH(B) ((B) > 4 ? word(p + (B) / 2) >> ((B) & 1 ? 4 : 0) : low >> (4 * (B) & 31))
#define MASK(B) ((1u << (B)) - 1u)
#define FOUR(B, word, j, VALUE)                        \
    out[(j)] = (int16_t)(VALUE((word) & MASK(B)));           \
    out[(j) + 1] = (int16_t)(VALUE(((word) >> (B)) & MASK(B)));    \
    out[(j) + 2] = (int16_t)(VALUE(((word) >> (2 * (B))) & MASK(B))); \
    out[(j) + 3] = (int16_t)(VALUE(((word) >> (3 * (B))) & MASK(B)));
#define FROM_GRID(code) ((int32_t)(code) + lowest)
#define FROM_TABLE(code) (table[code])
#define UNPACK(B, VALUE)                                              \
    for (; count >= 8; count -= 8, p += (B), out += 8) {              \
        const uint32_t low = LOW(B), high = HIGH(B);                  \
        FOUR(B, low, 0, VALUE)                                        \
        FOUR(B, high, 4, VALUE)                                       \
    }                                                                 \
    if (count) {                                                      \
        uint32_t rest = LOW(B);                                       \
        for (uint32_t j = 0; j < count; j++, rest >>= (B)) {          \
            if (j == 4 && (B) > 4) {                                  \
                rest = word(p + (B) / 2) >> ((B) & 1 ? 4 : 0);        \
            }                                                         \
            out[j] = (int16_t)(VALUE(rest & MASK(B)));                \
        }                                                             \
    }
#define FIXED(B)                                                        \
    void ep_fixed_##B(ep_reader *reader, int16_t *out, uint32_t count)  \
    {                                                                   \
        const uint8_t *p = reader->codes;                               \
        const int8_t *table = reader->table;                            \
        const int32_t lowest = reader->lowest;                          \
        reader->codes = p + (count * (B) + 7) / 8;                      \
        if (table) {                                                    \
            UNPACK(B, FROM_TABLE)                                       \
        } else {                                                        \
            UNPACK(B, FROM_GRID)                                        \
        }                                                               \
    }

FIXED(1)
FIXED(2)
FIXED(3)
FIXED(4)
FIXED(5)
FIXED(6)
FIXED(7)

void ep_fixed_8(ep_reader *reader, int16_t *out, uint32_t count)
{
    const uint8_t *p = reader->codes;
    const int8_t *table = reader->table;
    const int32_t lowest = reader->lowest;
    const uint8_t *const end = p + count;
    reader->codes = end;
    if (table) {
        while (p < end) {
            *out++ = table[*p++];
        }
        return;
    }
    for (; end - p >= 4; p += 4, out += 4) {
        out[0] = (int16_t)(p[0] + lowest);
        out[1] = (int16_t)(p[1] + lowest);
        out[2] = (int16_t)(p[2] + lowest);
        out[3] = (int16_t)(p[3] + lowest);
    }
    while (p < end) {
        *out++ = (int16_t)(*p++ + lowest);
    }
}

uint32_t ep_bitmap(ep_reader *reader, uint16_t *positions)
{
    const uint32_t length = reader->weights->length;
    uint32_t count = 0;
    for (uint32_t first = 0; first < length; first += 8) {
        uint32_t position = first;
        for (uint32_t bits = *reader->mask++; bits; bits >>= 1, position++) {
            positions[count] = (uint16_t)position;
            count += bits & 1u;
        }
    }
    return count;
}

static uint32_t bits_of_mask(ep_reader *reader, uint32_t width)
{
    const uint32_t bit = reader->mask_bit;
    reader->mask_bit += width;
    return word(reader->mask + bit / 8) >> bit % 8 & ((1u << width) - 1u);
}

uint32_t ep_gaps(ep_reader *reader, uint16_t *positions)
{
    const uint32_t length = reader->weights->length, width = reader->weights->mask_width;
    uint32_t count = 0;
    while (reader->left && reader->next < length) {
        positions[count++] = (uint16_t)reader->next;
        if (--reader->left) {
            reader->next += 1u + bits_of_mask(reader, width);
        }
    }
    reader->next -= length;
    return count;
}

/* The ways to keep 1, 2 or 3 of four, as bits, in the order of their places. */
uint32_t ep_n_of_4(ep_reader *reader, uint16_t *positions)
{
    static const uint8_t ways[3][6] = {{1, 2, 4, 8, 0, 0}, {3, 5, 9, 6, 10, 12}, {7, 11, 13, 14, 0, 0}};
    const uint32_t kept = reader->weights->mask_width, length = reader->weights->length;
    uint32_t count = 0;
    for (uint32_t first = 0; first < length; first += 4) {
        const uint32_t way = ways[kept - 1u][bits_of_mask(reader, kept == 2 ? 3 : 2)];
        for (uint32_t j = 0; j < 4; j++) {
            positions[count] = (uint16_t)(first + j);
            count += way >> j & 1u;
        }
    }
    return count;
}

void ep_next_channel(ep_reader *reader)
{
    const ep_weights *const weights = reader->weights;
    reader->channel++;
    if (reader->table) {
        reader->table += weights->table_step;
    }
}

void ep_open(ep_reader *reader, const ep_weights *weights, void *temp)
{
    reader->weights = weights;
    reader->codes = weights->codes;
    reader->mask = weights->mask;
    reader->table = weights->table;
    reader->factors = weights->factors;
    reader->mask_bit = 0;
    reader->next = weights->first;
    reader->left = weights->kept;
    reader->channel = 0;
    reader->lowest = weights->lowest;
    reader->inflater = NULL;
    if (weights->inflates) {
        reader->inflater = temp;
        reader->inflater->next = weights->codes;
        reader->inflater->window = 0;
        reader->inflater->have = 0;
        reader->inflater->state = 0;
    }
}

/* What follows the inflater, which keeps its place. */
static void *after(const ep_reader *reader, void *temp)
{
    return reader->inflater ? (void *)((uint8_t *)temp + EP_INFLATER) : temp;
}

/* Σ factor · level, rounded to whole numbers. */
static void sum_points(ep_reader *reader, int16_t *values, uint32_t count, int32_t *sums)
{
    int16_t *const levels = (int16_t *)(sums + count);
    for (uint32_t i = 0; i < count; i++) {
        sums[i] = 1 << 15;
    }
    for (uint32_t point = reader->weights->points[reader->channel]; point; point--) {
        const int32_t factor = *reader->factors++;
        reader->weights->unpack(reader, levels, count);
        for (uint32_t i = 0; i < count; i++) {
            sums[i] += factor * levels[i];
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        values[i] = (int16_t)(sums[i] >> 16);
    }
}

static void read_values(ep_reader *reader, int16_t *values, uint32_t count, void *temp)
{
    if (reader->weights->lowests) {
        reader->lowest = reader->weights->lowests[reader->channel];
    }
    if (reader->weights->factors) {
        sum_points(reader, values, count, temp);
    } else {
        reader->weights->unpack(reader, values, count);
    }
    ep_next_channel(reader);
}

uint32_t ep_kept(ep_reader *reader, uint16_t *positions, int16_t *values, void *temp)
{
    const uint32_t count = reader->weights->positions(reader, positions);
    read_values(reader, values, count, after(reader, temp));
    return count;
}

void ep_row(ep_reader *reader, int16_t *row, void *temp)
{
    const uint32_t length = reader->weights->length;
    void *const rest = after(reader, temp);
    if (!reader->weights->positions) {
        read_values(reader, row, length, rest);
        return;
    }
    uint16_t *const positions = rest;
    int16_t *const values = (int16_t *)rest + length;
    const uint32_t count = reader->weights->positions(reader, positions);
    read_values(reader, values, count, values + length);
    for (uint32_t i = 0; i < length; i++) {
        row[i] = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        row[positions[i]] = values[i];
    }
}
