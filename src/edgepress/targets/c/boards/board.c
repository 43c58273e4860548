/* Start of a Cortex-M in QEMU, its clock, and output by semihosting. A clock tick is 1.6 instructions at shift 6. */
#include <stddef.h>
#include <stdint.h>
#include "board.h"

#define PAINTED 4096 /* words */
#define PAINT 0xa5a5a5a5u

extern uint32_t board_data_from[], board_data[], board_data_end[], board_bss[], board_bss_end[], board_stack_top[];
void board_start(void);
__attribute__((section(".vectors"), used)) static void *const vectors[2] = {board_stack_top, (void *)board_start};

static uint32_t semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_say(const char *name, uint32_t number)
{
    char text[48], digits[10];
    size_t length = 0, count = 0;
    while (*name) {
        text[length++] = *name++;
    }
    do {
        digits[count++] = (char)('0' + number % 10u);
        number /= 10u;
    } while (number);
    text[length++] = ' ';
    while (count) {
        text[length++] = digits[--count];
    }
    text[length++] = '\n';
    text[length] = 0;
    semihosting(0x04, text);
}

uint32_t board_clock(void)
{
    return *(volatile uint32_t *)0x40000004u; /* CMSDK timer 0, counting down */
}

/* The stack is painted from below this frame, and looked through from the deepest word on. */
static uint32_t *stack_pointer(void)
{
    uint32_t *here;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    return here;
}

void board_paint(void)
{
    uint32_t *const here = stack_pointer();
    for (volatile uint32_t *word = here - PAINTED; word < here - 4; word++) {
        *word = PAINT;
    }
}

uint32_t board_painted_over(void)
{
    const uint32_t *const here = stack_pointer();
    const volatile uint32_t *word = here - PAINTED + 16;
    while (*word == PAINT && word < here) {
        word++;
    }
    return (uint32_t)((const volatile uint8_t *)here - (const volatile uint8_t *)word);
}

void board_start(void)
{
    const uint32_t *from = board_data_from;
    for (uint32_t *to = board_data; to < board_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = board_bss; to < board_bss_end;) {
        *to++ = 0;
    }
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* the FPU, where there is one */
    *(volatile uint32_t *)0x40000008u = 0xffffffffu;
    *(volatile uint32_t *)0x40000004u = 0xffffffffu;
    *(volatile uint32_t *)0x40000000u = 1u;
    board_main();
    semihosting(0x18, (const void *)0x20026u);
    for (;;) {
    }
}
