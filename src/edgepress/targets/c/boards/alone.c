/* The smallest program that runs the network: what is in it beside the board's start is what the network takes. */
#include "board.h"
#include "network.h"

static network_output_type output[NETWORK_OUTPUTS];

void board_main(void)
{
    network_run(output);
    board_say("first", *(const volatile uint32_t *)(const void *)output);
}
