#ifndef BOARD_H
#define BOARD_H
#include <stdint.h>

void board_main(void);
void board_say(const char *name, uint32_t number);
uint32_t board_clock(void);
void board_paint(void);
uint32_t board_painted_over(void);

#endif
