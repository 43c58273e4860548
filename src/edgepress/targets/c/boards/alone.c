/* The smallest program that runs the network: what is in it beside the board's start is what the network takes. */
#include "board.h"
#include "network.h"

static union {
    network_output_type numbers[NETWORK_OUTPUTS];
    uint32_t bits[NETWORK_OUTPUTS];
} output;

void board_main(void)
{
    network_run(output.numbers);
    board_say("first", output.bits[0]);
}
