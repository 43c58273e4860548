/* Runs a network on the rows of vectors.h, and says its outputs' bits, ticks of the clock, and the stack that it took. */
#include "board.h"
#include "network.h"
#include "vectors.h"

#ifdef EP_CLOCK
uint32_t ep_decoding;
uint32_t ep_clock(void)
{
    return board_clock();
}
#endif

static union {
    network_output_type numbers[NETWORK_OUTPUTS];
    uint32_t bits[NETWORK_OUTPUTS];
} output;

void board_main(void)
{
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t i = 0; i < NETWORK_INPUTS; i++) {
            network_input[i] = inputs[row * NETWORK_INPUTS + i];
        }
        board_paint();
        const uint32_t start = board_clock();
        network_run(output.numbers);
        const uint32_t end = board_clock();
        board_say("stack", board_painted_over());
        board_say("ticks", start - end);
#ifdef EP_CLOCK
        board_say("decoding", ep_decoding);
        ep_decoding = 0;
#endif
        for (uint32_t i = 0; i < NETWORK_OUTPUTS; i++) {
            board_say("output", output.bits[i]);
        }
    }
}
