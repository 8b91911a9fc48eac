/* What the guest needs of the PC: ports, time stamps, the serial line. */
#ifndef MACHINE_H
#define MACHINE_H
#include <stdint.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef uint8_t u8;

static inline void out8(uint16_t port, u8 value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline u8 in8(uint16_t port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u64 read_tsc(void)
{
    u32 lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

/* a * b / c, the quotient below 2^64 */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
    u64 hi, lo;
    __asm__("mulq %3" : "=d"(hi), "=a"(lo) : "a"(a), "r"(b));
    __asm__("divq %2" : "+a"(lo), "+d"(hi) : "r"(c));
    return lo;
}

static inline u64 mul_high(u64 a, u64 b)
{
    u64 hi, lo;
    __asm__("mulq %3" : "=d"(hi), "=a"(lo) : "a"(a), "r"(b));
    return hi;
}

static inline void fill_words(u64 *at, u64 value, u64 words)
{
    __asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(value) : "memory");
}

static inline void copy_words(u64 *to, const u64 *from, u64 words)
{
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words)::"memory");
}

_Noreturn static inline void halt(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* ---- serial line: a whole line is gathered, then sent 16 bytes (a full FIFO) an exit */

#define SERIAL 0x3F8
static char line[512];
static u32 line_length;

static void serial_init(void)
{
    out8(SERIAL + 1, 0);                  /* no interrupts */
    out8(SERIAL + 3, 0x80);
    out8(SERIAL + 0, 1);                  /* 115200 baud */
    out8(SERIAL + 1, 0);
    out8(SERIAL + 3, 3);                  /* 8 bits, no parity, 1 stop bit */
    out8(SERIAL + 2, 7);                  /* FIFOs on and empty */
}

static void put(const char *text)
{
    while (*text && line_length < sizeof line - 1)
        line[line_length++] = *text++;
}

static void put_number(u64 value)
{
    char digits[21];
    char *p = digits + 20;
    *p = 0;
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put(p);
}

static void put_field(const char *name, u64 value)
{
    put(" ");
    put(name);
    put("=");
    put_number(value);
}

static void put_hex(const char *name, u64 value)
{
    put(" ");
    put(name);
    put("=0x");
    for (int shift = 60; shift >= 0; shift -= 4) {
        char digit[2] = {"0123456789abcdef"[value >> shift & 15], 0};
        put(digit);
    }
}

static void begin_line(const char *what)
{
    line_length = 0;
    put("migsim-guest ");
    put(what);
}

static void end_line(void)
{
    line[line_length++] = '\n';
    const char *p = line;
    while (line_length) {
        u64 n = line_length < 16 ? line_length : 16;
        while (!(in8(SERIAL + 5) & 0x20))
            __asm__ volatile("pause");
        line_length -= (u32)n;
        __asm__ volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(SERIAL) : "memory");
    }
}

_Noreturn static void fail(const char *why, const char *detail)
{
    begin_line("error ");
    put(why);
    for (put(": "); *detail && *detail != ' ' && line_length < 400; detail++) {
        char one[2] = {*detail, 0};
        put(one);
    }
    end_line();
    halt();
}

/* ---- how fast the time stamp counter runs */

static inline void cpuid(u32 leaf, u32 *a, u32 *b)
{
    u32 c = 0, d;
    *a = leaf;
    __asm__ volatile("cpuid" : "+a"(*a), "=b"(*b), "+c"(c), "=d"(d));
}

static inline void write_msr(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* KVM's paravirtual clock states the scale exactly; it is switched off again, so that KVM writes no page later. */
static u64 tsc_khz_from_kvm(void)
{
    static volatile struct {
        u32 version, pad;
        u64 tsc, system;
        u32 multiplier;
        int8_t shift;
        u8 flags, rest[2];
    } clock __attribute__((aligned(64)));
    u32 a, b;
    cpuid(0x40000000, &a, &b);
    if (b != 0x4B4D564B)                  /* "KVMK" */
        return 0;
    cpuid(0x40000001, &a, &b);
    if (!(a & 8))
        return 0;
    write_msr(0x4B564D01, (u64)&clock | 1);
    for (int i = 0; i < 1000 && (!clock.version || clock.version & 1); i++)
        cpuid(0, &a, &b);
    u32 multiplier = clock.multiplier;
    int shift = clock.shift;
    write_msr(0x4B564D01, 0);
    if (!multiplier)
        return 0;
    u64 khz = mul_div(1000000, 1ull << 32, multiplier);
    return shift < 0 ? khz << -shift : khz >> shift;
}

static u32 pit_count(u64 *when)
{
    u64 best = ~0ull;
    u32 count = 0;
    for (int i = 0; i < 8; i++) {         /* the least disturbed of a few readings */
        u64 before = read_tsc();
        out8(0x43, 0x80);
        u64 after = read_tsc();
        u32 now = in8(0x42);
        now |= (u32)in8(0x42) << 8;
        if (after - before < best) {
            best = after - before;
            *when = before + best / 2;
            count = now;
        }
    }
    return count;
}

static u64 tsc_khz_from_pit(void)
{
    u64 start, end;
    u32 first, last;
    out8(0x61, (in8(0x61) & ~2) | 1);     /* gate of channel 2 on, speaker off */
    out8(0x43, 0xB0);                     /* channel 2, mode 0, counts down once */
    out8(0x42, 0xFF);
    out8(0x42, 0xFF);
    first = pit_count(&start);
    do
        last = pit_count(&end);
    while (last > 12000);                 /* about 45 ms of its 55 */
    return mul_div(end - start, 1193182, (u64)(first - last) * 1000);
}
#endif
