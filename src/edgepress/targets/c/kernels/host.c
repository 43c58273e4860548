/* Runs a network on rows of raw inputs from standard input, and writes raw outputs. */
#include <stdio.h>
#include "network.h"

int main(void)
{
    network_output_type output[NETWORK_OUTPUTS];
    while (fread(network_input, sizeof *network_input, NETWORK_INPUTS, stdin) == NETWORK_INPUTS) {
        network_run(output);
        if (fwrite(output, sizeof *output, NETWORK_OUTPUTS, stdout) != NETWORK_OUTPUTS) {
            return 1;
        }
    }
    return 0;
}
